"""Images: attributes, visibility, patches, lists, members, tags."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.client import Client
from tests.unit.image.conftest import make, patch
from tests.unit.serving import Serving


def test_versions(serving: Serving) -> None:
    root = serving.client.simulate_get("/image")
    assert root.status_code == 300
    assert root.json["versions"][0]["id"] == "v2.17"
    assert root.json["versions"][0]["status"] == "CURRENT"
    assert root.json["versions"][0]["links"][0]["href"].endswith("/image/v2/")
    assert serving.client.simulate_get("/image/versions").status_code == 200


def test_schema(demo: Client) -> None:
    schema = demo("GET", "/schemas/image").json
    assert schema["properties"]["os_hash_value"]["readOnly"]
    assert schema["additionalProperties"] == {"type": "string"}
    assert demo("GET", "/schemas/images").json["properties"]["images"]["items"]["name"] == "image"
    assert demo("GET", "/schemas/metadefs").status_code == 404


def test_create_and_show(demo: Client) -> None:
    made = demo("POST", "/images", json={"name": "x", "hw_rng_model": "virtio", "tags": ["b", "a", "b"]})
    assert made.status_code == 201
    assert made.headers["Location"].endswith(f"/image/v2/images/{made.json['id']}")
    assert made.json["visibility"] == "shared"
    assert made.json["status"] == "queued"
    assert made.json["hw_rng_model"] == "virtio"
    assert made.json["tags"] == ["a", "b"]
    assert made.json["size"] is None
    assert demo("GET", f"/images/{made.json['id']}").json == made.json


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ({"disk_format": "floppy"}, 400),
        ({"min_ram": -1}, 400),
        ({"min_ram": "1"}, 400),
        ({"hw_rng_model": 3}, 400),
        ({"id": "not-a-uuid"}, 400),
        ({"tags": "a"}, 400),
        ({"status": "active"}, 403),
        ({"size": 3}, 403),
        ({"locations": "x"}, 403),
        ({"visibility": "public"}, 403),
        ({"owner": "somebody"}, 403),
        ({f"p{n}": "x" for n in range(129)}, 413),
    ],
)
def test_create_refused(demo: Client, document: dict[str, object], status: int) -> None:
    answer = demo("POST", "/images", json=document)
    assert answer.status_code == status, answer.text
    assert answer.json["code"].startswith(str(status))
    assert demo("GET", "/images").json["images"] == []


def test_id_is_taken(demo: Client, alt: Client) -> None:
    image = make(demo, visibility="private")
    assert alt("POST", "/images", json={"id": image["id"]}).status_code == 409


def test_malformed_json(demo: Client) -> None:
    answer = demo("POST", "/images", body="{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 400


def test_no_token(serving: Serving) -> None:
    assert serving.client.simulate_get("/image/v2/images").status_code == 401


def test_who_sees_what(admin: Client, demo: Client, alt: Client) -> None:
    images = {
        "private": make(demo, visibility="private"),
        "shared": make(demo, visibility="shared"),
        "community": make(demo, visibility="community"),
        "public": make(admin, visibility="public"),
    }
    seen = {kind: alt("GET", f"/images/{image['id']}").status_code for kind, image in images.items()}
    assert seen == {"private": 404, "shared": 404, "community": 200, "public": 200}

    def listed(api: Client, query: str = "") -> set[str]:
        return {image["visibility"] for image in api("GET", "/images", query_string=query).json["images"]}

    assert listed(alt) == {"public"}
    assert listed(alt, "visibility=community") == {"community"}
    assert listed(alt, "visibility=all") == {"public", "community"}
    assert listed(demo) == {"private", "shared", "community", "public"}
    assert listed(admin) == {"private", "shared", "community", "public"}
    assert alt("GET", "/images", query_string="visibility=secret").status_code == 400
    community = images["community"]["id"]
    assert alt("DELETE", f"/images/{community}").status_code == 403
    assert patch(alt, community, [{"op": "replace", "path": "/name", "value": "mine"}]).status_code == 403


def test_patch(demo: Client) -> None:
    image = make(demo, colour="red", shape="round")
    changes = [
        {"op": "replace", "path": "/name", "value": "renamed"},
        {"op": "add", "path": "/colour", "value": "blue"},
        {"op": "add", "path": "/a~1b~0c", "value": "odd"},
        {"op": "remove", "path": "/shape"},
        {"op": "replace", "path": "/tags", "value": ["one", "two"]},
        {"op": "replace", "path": "/protected", "value": True},
        {"op": "replace", "path": "/disk_format", "value": "qcow2"},
    ]
    answer = patch(demo, image["id"], changes)
    assert answer.status_code == 200, answer.text
    got = answer.json
    assert (got["name"], got["colour"], got["a/b~c"], got["tags"]) == (
        "renamed",
        "blue",
        "odd",
        ["one", "two"],
    )
    assert "shape" not in got
    assert got["disk_format"] == "qcow2"
    assert demo("DELETE", f"/images/{image['id']}").status_code == 403


def test_patch_old_draft(demo: Client) -> None:
    image = make(demo, colour="red")
    answer = patch(demo, image["id"], [{"replace": "/colour", "value": "blue"}], "2.0")
    assert answer.json["colour"] == "blue"
    assert patch(demo, image["id"], [{"add": "/colour", "value": "x"}], "2.0").status_code == 409
    assert patch(demo, image["id"], [{"add": "/a", "remove": "/b"}], "2.0").status_code == 400


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"op": "move", "path": "/name", "value": "x"}, 400),
        ({"op": "replace", "value": "x"}, 400),
        ({"op": "replace", "path": "name", "value": "x"}, 400),
        ({"op": "replace", "path": "/name/deep", "value": "x"}, 400),
        ({"op": "replace", "path": "/na~2me", "value": "x"}, 400),
        ({"op": "replace", "path": "/", "value": "x"}, 400),
        ({"op": "replace", "path": "/name"}, 400),
        ({"op": "replace", "path": "/min_ram", "value": "much"}, 400),
        ({"op": "replace", "path": "/visibility", "value": "x"}, 400),
        ({"op": "add", "path": "/colour", "value": {"r": 1}}, 400),
        ({"op": "replace", "path": "/status", "value": "active"}, 403),
        ({"op": "replace", "path": "/id", "value": "00000000-0000-0000-0000-000000000000"}, 403),
        ({"op": "replace", "path": "/owner", "value": "x"}, 403),
        ({"op": "replace", "path": "/visibility", "value": "public"}, 403),
        ({"op": "remove", "path": "/name"}, 403),
        ({"op": "remove", "path": "/nothing"}, 409),
        ({"op": "replace", "path": "/nothing", "value": "x"}, 409),
        ("name", 400),
    ],
)
def test_patch_refused(demo: Client, change: object, status: int) -> None:
    image = make(demo)
    answer = patch(demo, image["id"], [{"op": "add", "path": "/first", "value": "x"}, change])
    assert answer.status_code == status, answer.text
    assert demo("GET", f"/images/{image['id']}").json == image


def test_patch_media_type(demo: Client) -> None:
    image = make(demo)
    assert demo("PATCH", f"/images/{image['id']}", json=[]).status_code == 415
    assert patch(demo, image["id"], {"op": "add"}).status_code == 400


def test_format_is_fixed_once_there_is_data(demo: Client) -> None:
    image = make(demo, b"0" * 1024)
    change = [{"op": "replace", "path": "/disk_format", "value": "qcow2"}]
    assert patch(demo, image["id"], change).status_code == 403


def test_filters(demo: Client) -> None:
    make(demo, b"0" * 2048, name="a", tags=["x", "y"], hw_rng_model="virtio")
    make(demo, b"0" * 1024, name="b,c", tags=["x"], protected=True)
    make(demo, name="d", disk_format="qcow2", os_hidden=True)

    def names(query: str) -> list[str]:
        answer = demo("GET", "/images", query_string=query)
        assert answer.status_code == 200, answer.text
        return [image["name"] for image in answer.json["images"]]

    assert names("") == ["b,c", "a"]
    assert names("os_hidden=true") == ["d"]
    assert names("name=a") == ["a"]
    assert names('name=in:a,"b,c"') == ["b,c", "a"]
    assert names("tag=x&tag=y") == ["a"]
    assert names("tag=x&sort_key=name&sort_dir=asc") == ["a", "b,c"]
    assert names("sort=size:asc,name:desc") == ["b,c", "a"]
    assert names("sort_key=size&sort_key=name&sort_dir=desc") == ["a", "b,c"]
    assert names("size_min=2000") == ["a"]
    assert names("size_max=2000") == ["b,c"]
    assert names("protected=true") == ["b,c"]
    assert names("hw_rng_model=virtio") == ["a"]
    assert names("hw_rng_model=other") == []
    assert names('we"ird=x') == []
    assert names("status=queued&os_hidden=true") == ["d"]
    assert names("created_at=gt:2000-01-01T00:00:00Z&name=a") == ["a"]
    assert names("updated_at=lt:2000-01-01T00:00:00Z") == []
    when = demo("GET", "/images", query_string="name=a").json["images"][0]["created_at"]
    assert "a" in names(f"created_at=eq:{when}")
    assert names(f"created_at=neq:{when}&name=a") == []
    for query in (
        "protected=maybe", "size_min=x", "created_at=gt:x", "sort_key=x", "limit=x", "sort_dir=x&sort_key=id",
        "marker=x", "member_status=x", "sort=name:asc&sort_key=name", "name=in:a%0Ab", "%00=x",
    ):  # fmt: skip
        assert demo("GET", "/images", query_string=query).status_code == 400, query


def test_pages(demo: Client) -> None:
    made = [make(demo, name=f"n{n}", size_class="small")["id"] for n in range(5)]
    for sort in ("sort_key=size&sort_dir=asc", "sort=name:asc"):
        got, path = [], f"/images?limit=2&{sort}"
        while path:
            page = demo("GET", path).json
            assert page["first"] == f"/v2/images?limit=2&{sort}".replace(":", "%3A")
            got += [image["id"] for image in page["images"]]
            path = page.get("next", "").removeprefix("/v2")
        assert sorted(got) == sorted(made)
    assert demo("GET", "/images?limit=0").json["images"] == []


def test_hidden_and_deactivated(demo: Client, admin: Client) -> None:
    image = make(demo, b"0" * 1024)
    assert demo("POST", f"/images/{image['id']}/actions/deactivate").status_code == 204
    assert demo("GET", f"/images/{image['id']}").json["status"] == "deactivated"
    assert demo("GET", f"/images/{image['id']}/file").status_code == 403
    assert admin("GET", f"/images/{image['id']}/file").status_code == 200
    assert demo("POST", f"/images/{image['id']}/actions/reactivate").status_code == 204
    assert demo("GET", f"/images/{image['id']}/file").status_code == 200
    queued = make(demo)
    assert demo("POST", f"/images/{queued['id']}/actions/deactivate").status_code == 403


def test_tags(demo: Client, alt: Client) -> None:
    image = make(demo)
    assert demo("PUT", f"/images/{image['id']}/tags/good").status_code == 204
    assert demo("PUT", f"/images/{image['id']}/tags/good").status_code == 204
    assert demo("GET", f"/images/{image['id']}").json["tags"] == ["good"]
    assert alt("PUT", f"/images/{image['id']}/tags/bad").status_code == 404
    assert demo("PUT", f"/images/{image['id']}/tags/{'x' * 256}").status_code == 400
    assert demo("DELETE", f"/images/{image['id']}/tags/good").status_code == 204
    assert demo("DELETE", f"/images/{image['id']}/tags/good").status_code == 404


def test_a_project_is_a_member_of_several_images(serving: Serving, demo: Client, alt: Client) -> None:
    alt_id = serving.login("alt_demo").json["token"]["project"]["id"]
    images = [make(demo)["id"] for _ in range(3)]
    for image in images:
        assert demo("POST", f"/images/{image}/members", json={"member": alt_id}).json["image_id"] == image
    for image in images[1:]:
        said = alt("PUT", f"/images/{image}/members/{alt_id}", json={"status": "accepted"})
        assert (said.json["image_id"], said.json["status"]) == (image, "accepted")
    assert {image["id"] for image in alt("GET", "/images").json["images"]} == set(images[1:])


def test_members(serving: Serving, demo: Client, alt: Client, admin: Client) -> None:
    projects = serving.user("alt_demo", "/identity")("GET", "/v3/auth/projects").json["projects"]
    alt_id = projects[0]["id"]
    image = make(demo, b"0" * 1024)
    url = f"/images/{image['id']}/members"
    made = demo("POST", url, json={"member": alt_id})
    assert made.status_code == 200
    assert made.json["status"] == "pending"
    assert demo("POST", url, json={"member": alt_id}).status_code == 409
    assert demo("POST", url, json={"members": alt_id}).status_code == 400
    assert alt("GET", f"/images/{image['id']}").status_code == 200
    assert alt("GET", "/images").json["images"] == []
    pending = "visibility=shared&member_status=pending"
    assert len(alt("GET", "/images", query_string=pending).json["images"]) == 1
    assert demo("PUT", f"{url}/{alt_id}", json={"status": "accepted"}).status_code == 403
    assert alt("PUT", f"{url}/{alt_id}", json={"status": "perhaps"}).status_code == 400
    assert alt("PUT", f"{url}/{alt_id}", json={"status": "accepted"}).json["status"] == "accepted"
    assert [found["id"] for found in alt("GET", "/images").json["images"]] == [image["id"]]
    assert len(alt("GET", url).json["members"]) == len(demo("GET", url).json["members"]) == 1
    assert alt("GET", f"{url}/{alt_id}").json["member_id"] == alt_id
    assert alt("GET", f"/images/{image['id']}/file").status_code == 200
    assert alt("POST", url, json={"member": "x"}).status_code == 403
    assert alt("DELETE", f"{url}/{alt_id}").status_code == 403
    assert demo("DELETE", f"{url}/{alt_id}").status_code == 204
    assert alt("GET", f"/images/{image['id']}").status_code == 404
    assert demo("GET", f"{url}/{alt_id}").status_code == 404
    private = make(demo, visibility="private")
    assert demo("POST", f"/images/{private['id']}/members", json={"member": alt_id}).status_code == 403


def test_list_has_few_statements(serving: Serving, demo: Client) -> None:
    from sqlalchemy import event

    counted: list[str] = []
    event.listen(serving.db.engine, "before_cursor_execute", lambda *a: counted.append(a[2]))

    def cost() -> int:
        counted.clear()
        assert demo("GET", "/images").status_code == 200
        return len(counted)

    make(demo, tags=["a"])
    first = cost()
    for _ in range(5):
        make(demo, tags=["a", "b"])
    assert cost() == first


def test_an_empty_id_is_not_the_list(serving: Serving, demo: Client) -> None:
    for method in ("GET", "DELETE"):
        assert demo(method, "/images/").status_code == 404


@pytest.mark.parametrize("name", ["os_glance_foo", "locations", "direct_url"])
def test_reserved_properties(demo: Client, name: str) -> None:
    assert demo("POST", "/images", json={"name": "x", name: "bar"}).status_code == 403
    image = make(demo)
    assert patch(demo, image["id"], [{"op": "add", "path": f"/{name}", "value": "bar"}]).status_code == 403


def test_no_import_methods(demo: Client) -> None:
    assert demo("GET", "/info/import").json["import-methods"]["value"] == []


def test_ids_of_deleted_images_are_not_given_again(demo: Client, alt: Client) -> None:
    image = make(demo, visibility="private")
    assert demo("DELETE", f"/images/{image['id']}").status_code == 204
    for anybody in (demo, alt):
        assert anybody("POST", "/images", json={"id": image["id"]}).status_code == 409
    assert demo("GET", f"/images/{image['id']}").status_code == 404


def test_tags_go_with_their_image(serving: Serving, demo: Client) -> None:
    from sqlalchemy import select

    from pileus.db.tags import Tag

    image = make(demo, tags=["a", "b"])
    assert demo("DELETE", f"/images/{image['id']}").status_code == 204
    with serving.db.read() as session:
        assert session.scalars(select(Tag)).all() == []


def test_too_many_tags(demo: Client) -> None:
    image = make(demo, tags=[f"t{n}" for n in range(128)])
    answer = demo("PUT", f"/images/{image['id']}/tags/one-more")
    assert answer.status_code == 413
    assert "Attempted: 129, Maximum: 128" in answer.json["message"]
    assert demo("PUT", f"/images/{image['id']}/tags/t7").status_code == 204


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("sort=name", ["c", "b", "a"]),
        ("sort=min_ram:asc,name", ["b", "a", "c"]),
        ("sort_key=name&sort_dir=asc&sort_key=id&sort_dir=desc", ["a", "b", "c"]),
        ("sort_key=name", ["c", "b", "a"]),
        ("sort_dir=asc", ["a", "b", "c"]),
        ("", ["c", "b", "a"]),
    ],
)
def test_order(demo: Client, query: str, names: list[str]) -> None:
    for name, min_ram in (("a", 1), ("b", 1), ("c", 2)):
        make(demo, name=name, min_ram=min_ram)
    assert [image["name"] for image in demo("GET", "/images", query_string=query).json["images"]] == names


@pytest.mark.parametrize(
    "query", ["size_min=-1", "size_max=" + "9" * 5000, "protected=yes", "created_at=gt:10000-01-01"]
)
def test_values_that_no_filter_has(demo: Client, query: str) -> None:
    answer = demo("GET", "/images", query_string=query)
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json["message"]


def test_an_operators_rules_count(tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    rules = '"get_image": "role:admin or project_id:%(owner)s"\n"delete_image": "project_id:%(member_id)s"\n'
    (tmp_path / "policy" / "image.yaml").write_text(rules)
    serving = Serving(tmp_path)
    demo, alt = (serving.user(name, "/image/v2") for name in ("demo", "alt_demo"))
    image = f"/images/{make(demo, visibility='community')['id']}"
    assert demo("GET", image).status_code == 200
    assert demo("DELETE", image).status_code == 403
    for method in ("GET", "DELETE"):
        assert alt(method, image).status_code == 404  # what may not be read looks as if it were not there


def test_rules_are_judged_against_the_owner(demo: Client, alt: Client) -> None:
    community = make(demo, visibility="community")["id"]
    assert alt("GET", f"/images/{community}").status_code == 200
    for method, path in (("DELETE", ""), ("PUT", "/tags/x"), ("DELETE", "/tags/x"), ("POST", "/actions/deactivate")):
        assert alt(method, f"/images/{community}{path}").status_code == 403
    assert alt("GET", f"/images/{community}/members").status_code == 403
