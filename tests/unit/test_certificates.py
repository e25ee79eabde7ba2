"""Certificates of the cloud's parts: who is who, and what is refused."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509 import CertificateSigningRequestBuilder, Name, load_pem_x509_certificate

from pileus import certificates
from pileus.certificates import AGENT, Identity, Papers

WHO = Identity("cloud/1", AGENT, "rack 7/a")
DAY = timedelta(days=1)


def test_a_certificate_says_who_it_is_for() -> None:
    assert certificates.peer({"subjectAltName": (("DNS", "x"), ("URI", WHO.uri))}) == WHO
    for other in ({}, None, {"subjectAltName": (("URI", "spiffe://cloud/agent/a"),)}, {"subjectAltName": ()}):
        assert certificates.peer(other) is None


def test_a_certificate_ends_when_it_was_told_to_and_not_after_its_authority(monkeypatch: pytest.MonkeyPatch) -> None:
    key = certificates.new_key()
    monkeypatch.setattr(certificates, "AUTHORITY_LASTS", timedelta(days=3))
    authority = certificates.found_authority("c")
    for lasts, ends in ((DAY, DAY), (timedelta(days=9), timedelta(days=3))):
        made = certificates.sign(authority, certificates.public_of(key), WHO, lasts)
        left = Papers(key, made, authority[1]).ends - datetime.now(UTC)
        assert abs(left - ends) < timedelta(minutes=10)


def test_two_certificates_are_never_the_same() -> None:
    authority, public = certificates.found_authority("c"), certificates.public_of(certificates.new_key())
    made = [load_pem_x509_certificate(certificates.sign(authority, public, WHO, DAY)) for _ in range(2)]
    assert made[0].serial_number != made[1].serial_number


def test_only_a_request_by_the_owner_of_a_usual_key_is_taken() -> None:
    key = certificates.new_key()
    asked = certificates.request(key)
    assert certificates.requested_key(asked) == certificates.public_of(key)
    odd = rsa.generate_private_key(65537, 2048)
    request = CertificateSigningRequestBuilder().subject_name(Name([])).sign(odd, hashes.SHA256())
    for bad in (request.public_bytes(serialization.Encoding.PEM), b"", b"-----BEGIN CERTIFICATE REQUEST-----", key):
        with pytest.raises(ValueError):
            certificates.requested_key(bad)


def test_papers_that_do_not_fit_are_refused() -> None:
    authority, key = certificates.found_authority("c"), certificates.new_key()
    own = certificates.sign(authority, certificates.public_of(certificates.new_key()), WHO, DAY)
    with pytest.raises(ssl.SSLError):
        Papers(key, own, authority[1]).context(ssl.Purpose.CLIENT_AUTH)
