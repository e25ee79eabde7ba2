"""Key pairs."""

from __future__ import annotations

import base64
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from typing import Any
from unittest import mock

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID

from pileus.compute import keypairs
from pileus.errors import Unavailable
from tests.client import Client
from tests.unit.nouns import SSH_FINGERPRINT, SSH_KEY, Nouns


def body(name: str = "key", **others: Any) -> dict[str, Any]:
    return {"keypair": {"name": name, "public_key": SSH_KEY, **others}}


def test_import_show_delete(demo: Client) -> None:
    made = demo("POST", "/os-keypairs", json=body())
    assert made.status_code == 201
    assert made.json["keypair"].keys() == {"name", "public_key", "fingerprint", "type", "user_id"}
    shown = demo.ok("GET", "/os-keypairs/key")["keypair"]
    assert (shown["fingerprint"], shown["type"], shown["deleted"]) == (SSH_FINGERPRINT, "ssh", False)
    assert shown["public_key"] == SSH_KEY and isinstance(shown["id"], int)
    assert demo("POST", "/os-keypairs", json=body()).status_code == 409
    assert demo("DELETE", "/os-keypairs/key").status_code == 204
    assert demo("GET", "/os-keypairs/key").status_code == 404


def test_first_version_answers_200_and_202_and_knows_no_type(demo: Client) -> None:
    made = demo("POST", "/os-keypairs", version="2.1", json=body())
    assert made.status_code == 200 and "type" not in made.json["keypair"]
    assert demo("POST", "/os-keypairs", version="2.1", json=body("b", type="ssh")).status_code == 400
    assert demo("DELETE", "/os-keypairs/key", version="2.1").status_code == 202


def test_generated_keys_show_the_private_key_once(demo: Client) -> None:
    made = demo.ok("POST", "/os-keypairs", version="2.91", json={"keypair": {"name": "key"}})["keypair"]
    load_pem_private_key(made["private_key"].encode(), None)
    assert made["public_key"].startswith("ssh-rsa ")
    assert "private_key" not in demo.ok("GET", "/os-keypairs/key")["keypair"]


def test_no_key_is_generated_from_2_92_on(demo: Client) -> None:
    answer = demo("POST", "/os-keypairs", version="2.92", json={"keypair": {"name": "key"}})
    assert answer.status_code == 400 and "public_key" in answer.json["badRequest"]["message"]


@pytest.mark.parametrize("key", ["", "ssh-rsa", "ssh-rsa AAAA", "nope", "ssh-ed25519 " + "A" * 68])
def test_what_is_no_key_is_refused(demo: Client, key: str) -> None:
    answer = demo("POST", "/os-keypairs", json=body(public_key=key))
    assert answer.status_code == 400
    assert answer.json["badRequest"]["message"].startswith("Keypair data is invalid: ")


def test_names(demo: Client) -> None:
    assert demo("POST", "/os-keypairs", version="2.91", json=body("a@b.c")).status_code == 400
    assert demo("POST", "/os-keypairs", version="2.92", json=body("a@b.c")).status_code == 201
    for wrong in ("", " a", "a/b", "é", "x" * 256):
        assert demo("POST", "/os-keypairs", json=body(wrong)).status_code == 400


def test_pages_in_order_of_names(demo: Client) -> None:
    for name in ("b", "a", "c"):
        demo.ok("POST", "/os-keypairs", json=body(name))
    first = demo.ok("GET", "/os-keypairs?limit=2")
    assert [one["keypair"]["name"] for one in first["keypairs"]] == ["a", "b"]
    assert "marker=b" in first["keypairs_links"][0]["href"]
    rest = demo.ok("GET", "/os-keypairs?limit=2&marker=b")
    assert [one["keypair"]["name"] for one in rest["keypairs"]] == ["c"]
    assert demo("GET", "/os-keypairs?marker=nope").status_code == 400
    assert len(demo.ok("GET", "/os-keypairs?limit=1", version="2.34")["keypairs"]) == 3


def test_other_users_keys_are_for_administrators(admin: Client, demo: Client) -> None:
    owner = demo.ok("POST", "/os-keypairs", json=body())["keypair"]["user_id"]
    assert admin("GET", "/os-keypairs/key").status_code == 404
    assert admin.ok("GET", f"/os-keypairs/key?user_id={owner}")["keypair"]["name"] == "key"
    admin.ok("POST", "/os-keypairs", json=body("second", user_id=owner))
    assert len(demo.ok("GET", "/os-keypairs")["keypairs"]) == 2
    assert demo("GET", "/os-keypairs?user_id=somebody").status_code == 403
    assert demo("POST", "/os-keypairs", json=body("third", user_id="somebody")).status_code == 403
    assert admin("DELETE", f"/os-keypairs/second?user_id={owner}").status_code == 204


def test_quota(nouns: Nouns, admin: Client, demo: Client) -> None:
    path = f"/os-quota-sets/{nouns.project_id('demo')}"
    admin.ok("PUT", path, json={"quota_set": {"key_pairs": 1}})
    demo.ok("POST", "/os-keypairs", json=body("a"))
    answer = demo("POST", "/os-keypairs", json=body("b"))
    assert answer.status_code == 403
    assert answer.json["forbidden"]["message"] == "Quota exceeded, too many key pairs."


def test_find(nouns: Nouns, demo: Client) -> None:
    owner = demo.ok("POST", "/os-keypairs", json=body())["keypair"]["user_id"]
    with nouns.serving.db.read() as session:
        found = keypairs.find(session, owner, "key")
        assert found is not None and found.public_key == SSH_KEY
        assert keypairs.find(session, owner, "nope") is None


def test_generated_certificates(demo: Client) -> None:
    """Self-signed, for client authentication, naming the user as Windows wants it; the key as PKCS #12, as Nova's."""
    body = {"keypair": {"name": "key", "type": "x509"}}
    assert demo("POST", "/os-keypairs", version="2.1", json=body).status_code == 400
    assert demo("POST", "/os-keypairs", version="2.92", json=body).status_code == 400
    made = demo.ok("POST", "/os-keypairs", version="2.91", json=body)["keypair"]
    certificate = x509.load_pem_x509_certificate(made["public_key"].encode())
    key, same, _ = pkcs12.load_key_and_certificates(base64.b64decode(made["private_key"]), None)
    assert isinstance(key, rsa.RSAPrivateKey) and same == certificate
    assert key.public_key() == certificate.public_key()
    certificate.verify_directly_issued_by(certificate)
    assert certificate.subject.rfc4514_string() == f"CN={made['user_id']}"
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    (name,) = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert isinstance(name, x509.OtherName) and name.type_id.dotted_string == "1.3.6.1.4.1.311.20.2.3"
    assert name.value[2:].decode() == f"{made['user_id']}@localhost"
    assert made["fingerprint"].replace(":", "") == certificate.fingerprint(hashes.SHA1()).hex()
    shown = demo.ok("GET", "/os-keypairs/key")["keypair"]
    assert (shown["type"], shown["public_key"]) == ("x509", made["public_key"]) and "private_key" not in shown
    again = {"keypair": {"name": "again", "type": "x509", "public_key": made["public_key"]}}
    assert demo.ok("POST", "/os-keypairs", json=again)["keypair"]["fingerprint"] == made["fingerprint"]


@pytest.mark.parametrize("user_id", ["u" * 64, "\u20ac" * 21])
def test_certificates_name_users_of_any_letters(user_id: str) -> None:
    material = keypairs.generated("x509", user_id)
    certificate = x509.load_pem_x509_certificate(material.public_key.encode())
    (name,) = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert isinstance(name, x509.OtherName) and name.value[2:].decode() == f"{user_id}@localhost"


def test_no_certificate_names_a_user_with_a_longer_id(admin: Client) -> None:
    body = {"keypair": {"name": "key", "type": "x509", "user_id": "u" * 65}}
    answer = admin("POST", "/os-keypairs", version="2.91", json=body)
    assert answer.status_code == 400 and "64 bytes" in answer.json["badRequest"]["message"]


def test_nothing_is_generated_for_who_may_not_keep_it(demo: Client) -> None:
    with mock.patch.object(keypairs, "generated", side_effect=AssertionError):
        answer = demo("POST", "/os-keypairs", version="2.91", json={"keypair": {"name": "key", "user_id": "somebody"}})
    assert answer.status_code == 403


def test_a_key_that_is_not_there(demo: Client) -> None:
    user_id = demo.ok("POST", "/os-keypairs", json=body())["keypair"]["user_id"]
    assert demo("GET", "/os-keypairs/other").json["itemNotFound"]["message"] == (
        f"Keypair other not found for user {user_id}"
    )
    assert demo("GET", "/os-keypairs/other?user_id=somebody").status_code == 403


def test_who_wants_many_keys_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen requests for keys took all threads that answer requests, for seconds of processor time."""
    key, go = rsa.generate_private_key(public_exponent=65537, key_size=2048), threading.Event()
    monkeypatch.setattr(rsa, "generate_private_key", lambda **_options: go.wait(20) and key)
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(keypairs.generated, "ssh", "u") for _ in range(16)]
        refused = [one.exception() for one in islice(as_completed(asked), 16 - keypairs.MOST_MAKING)]
        assert all(isinstance(one, Unavailable) for one in refused)
        go.set()
        made = [one.result() for one in asked if not one.exception()]
    assert len(made) == keypairs.MOST_MAKING
    assert keypairs.generated("ssh", "u").private_key
