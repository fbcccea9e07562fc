"""Tables over HTTP: published by delta, listed under a signature, served as files."""

import pytest
from cryptography.exceptions import InvalidSignature

from protocols.codec import canonical_json, parse_json
from protocols.lookup.bucket import open_bucket
from protocols.lookup.delta import Delta, merge
from protocols.lookup.derivation import derive_root, derive_tags
from protocols.lookup.filter import TagFilter
from protocols.lookup.header import SignedHeader, verify_header
from protocols.lookup.payload import Category, Payload, Slot, SourceClass, Status, Use
from protocols.lookup.receipt import Reply
from protocols.lookup.record import open_record, seal_record
from protocols.lookup.request import NO_CASE, Purpose
from protocols.lookup.table import check_digests, check_table, find

BASE = "/v1/epochs/5/tables"
TYPE = {"Content-Type": "application/vnd.lianfang.table-delta"}


@pytest.fixture
def published(world):
    """A world with two versions of the table of the police."""
    assert world.publish(world.delta(world.records(3000))).status_code == 200
    gone = [world.tables["police"][0][:16]]
    assert world.publish(world.delta(world.records(30), gone)).status_code == 200
    return world


def test_published_table_comes_back_signed_and_whole(published):
    client = published.client("insurer")
    data, signed = published.tables["police"]
    answer = client.get(f"{BASE}/police/2")
    assert answer.content == data
    assert answer.headers["content-length"] == str(len(data))
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    found = SignedHeader.decode(client.get(f"{BASE}/police/2/header").content)
    assert found == signed
    check_table(verify_header(published.identities["police"].public_key(), found), answer.content)
    check_digests(found.header, client.get(f"{BASE}/police/2/digests").content)
    tags = TagFilter.decode(client.get(f"{BASE}/police/2/filter").content)
    assert data[:16] in tags


def test_list_is_signed_by_the_hub(published):
    content = published.client("insurer").get(BASE).content
    value = parse_json(content, "list")
    signature = bytes.fromhex(value.pop("signature"))
    public = published.identities["hub"].public_key()
    public.verify(signature, canonical_json(value))
    (entry,) = value["tables"]
    _, signed = published.tables["police"]
    assert SignedHeader.decode(bytes.fromhex(entry["header"])) == signed
    assert (value["hub"], value["epoch"], value["at"]) == ("lianfang", 5, published.clock.now())
    assert entry["bytes"] == 76 * entry["count"]
    value["at"] += 1
    with pytest.raises(InvalidSignature):
        public.verify(signature, canonical_json(value))


@pytest.mark.parametrize("part", ["", "/header", "/digests", "/filter", "/delta?since=1"])
def test_known_etag_is_304(published, part):
    client = published.client("insurer")
    first = client.get(f"{BASE}/police/2{part}")
    again = client.get(
        f"{BASE}/police/2{part}", headers={"If-None-Match": f'"x", W/{first.headers["etag"]}'}
    )
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    other = client.get(f"{BASE}/police/2{part}", headers={"If-None-Match": '"x"'})
    assert other.content == first.content


def test_manifest_has_an_etag_and_is_what_was_signed(world):
    client = world.client("insurer")
    current = client.get("/v1/epochs/current")
    assert current.content == client.get("/v1/epochs/5").content == world.signed.format()
    tag = {"If-None-Match": current.headers["etag"]}
    assert client.get("/v1/epochs/current", headers=tag).status_code == 304


RANGES = [
    ("bytes=0-75", slice(0, 76)),
    ("bytes=76-", slice(76, None)),
    ("bytes=-100", slice(-100, None)),
    ("bytes=100-99999999", slice(100, None)),
]


@pytest.mark.parametrize(("wanted", "part"), RANGES)
def test_range_gives_that_part(published, wanted, part):
    data, _ = published.tables["police"]
    answer = published.client("insurer").get(f"{BASE}/police/2", headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (206, data[part])
    start = range(len(data))[part][0]
    assert answer.headers["content-range"] == (
        f"bytes {start}-{start + len(answer.content) - 1}/{len(data)}"
    )


@pytest.mark.parametrize("wanted", ["bytes=9-5", "bytes=0-1,4-5", "lines=1-2", "bytes=", "x"])
def test_other_ranges_give_the_whole(published, wanted):
    answer = published.client("insurer").get(f"{BASE}/police/2", headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (200, published.tables["police"][0])


@pytest.mark.parametrize("offset", [0, 1, 10**9])
def test_range_behind_the_end_is_416(published, problem, offset):
    size = len(published.tables["police"][0])
    answer = published.client("insurer").get(
        f"{BASE}/police/2", headers={"Range": f"bytes={size + offset}-"}
    )
    problem(answer, 416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{size}"


def test_range_of_another_version_gives_the_whole(published):
    client = published.client("insurer")
    old = client.get(f"{BASE}/police/1").headers["etag"]
    headers = {"Range": "bytes=0-75", "If-Range": old}
    answer = client.get(f"{BASE}/police/2", headers=headers)
    assert (answer.status_code, answer.content) == (200, published.tables["police"][0])


def test_delta_since_equals_composing(published):
    client = published.client("insurer")
    base = client.get(f"{BASE}/police/1").content
    for _ in range(3):
        gone = [published.tables["police"][0][76:92]]
        published.publish(published.delta(published.records(9), gone))
    data, signed = published.tables["police"]
    delta = Delta.decode(client.get(f"{BASE}/police/5/delta?since=1").content)
    assert delta.after == signed
    assert b"".join(merge(base, delta)) == data


def test_delta_that_is_not_kept_is_404(published, problem):
    client = published.client("insurer")
    problem(client.get(f"{BASE}/police/2/delta?since=2"), 404, "not_found")
    problem(client.get(f"{BASE}/police/1/delta?since=1"), 404, "not_found")
    problem(client.get(f"{BASE}/police/2/delta"), 422, "invalid_parameter")


def test_buckets_have_one_size_and_verify(published):
    client = published.client("insurer")
    data, signed = published.tables["police"]
    bits = signed.header.prefix_bits
    digests = client.get(f"{BASE}/police/2/digests").content
    padded = [client.get(f"{BASE}/police/2/buckets/{i}").content for i in range(1 << bits)]
    assert len(padded) > 4
    assert len({len(bucket) for bucket in padded}) == 1
    opened = [open_bucket(bucket, digests, bits, i) for i, bucket in enumerate(padded)]
    assert b"".join(opened) == data


def test_bucket_that_is_none_is_404(published, problem):
    client = published.client("insurer")
    problem(client.get(f"{BASE}/police/2/buckets/4095"), 404, "not_found")
    problem(client.get(f"{BASE}/police/2/buckets/-1"), 422, "invalid_parameter")


def test_stale_delta_is_409_with_the_version_in_force(published, problem):
    stale = published.delta(published.records(2))
    assert published.publish(published.delta(published.records(3))).status_code == 200
    value = problem(published.publish(stale), 409, "version_conflict")
    assert value["current_version"] == 3


def test_same_delta_again_is_200_without_change(world):
    delta = world.delta(world.records(5))
    assert world.publish(delta).json()["is_new"] is True
    world.tables.clear()
    again = world.publish(delta)
    assert (again.status_code, again.json()["is_new"]) == (200, False)
    assert again.json()["version"] == 1


def test_table_of_another_partner_is_refused(world, problem):
    delta = world.delta(world.records(5)).encode()
    answer = world.client("telecom").post(f"{BASE}/police", content=delta, headers=TYPE)
    problem(answer, 403, "not_permitted")
    assert world.client("telecom").get(BASE).json()["tables"] == []


def test_asker_that_is_no_contributor_is_refused(world, problem):
    answer = world.client("insurer").post(f"{BASE}/insurer", content=b"x", headers=TYPE)
    problem(answer, 403, "not_permitted")


def test_delta_signed_by_another_is_refused(world, problem):
    world.identities = world.identities | {"police": world.identities["telecom"]}
    problem(world.publish(world.delta(world.records(2))), 422, "invalid_proof")


def test_broken_delta_is_400(world, problem):
    delta = world.delta(world.records(5)).encode()
    client = world.client("police")
    for broken in (b"", delta[:-1], delta + b"\0", delta[:40]):
        answer = client.post(f"{BASE}/police", content=broken, headers=TYPE)
        problem(answer, 400, "malformed_message")
    assert client.get(BASE).json()["tables"] == []


def test_nothing_is_published_after_the_epoch(world, problem):
    delta = world.delta(world.records(5))
    world.clock.advance(86_400 + 3600)
    problem(world.publish(delta), 403, "not_permitted")


TRAVERSALS = [
    "/v1/epochs/5/tables/..%2f..%2fepochs/1",
    "/v1/epochs/5/tables/%2e%2e/1",
    "/v1/epochs/..%2f5/tables",
    "/v1/epochs/5/tables/police%00/1",
    "/v1/epochs/5/tables/police/..%2f1",
    "/v1/epochs/5/tables/police/1%2e",
    "/v1/epochs/05x/tables",
    "/v1/epochs/5/tables//1",
    "/v1/epochs/%d9%a5/tables/police/9",
    "/v1/epochs/99999999999999999999999999/tables",
    "/v1/epochs/-5/tables/police/1",
]


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_path_leaves_the_tables(published, path):
    with published.raw("insurer") as connection:
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n".encode()
        )
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, content = answer.partition(b"\r\n\r\n")
    assert head.split()[1] in {b"404", b"422"}, head
    assert b"application/problem+json" in head
    assert b".." not in content


def test_large_table_is_served(world):
    """A hundred thousand records: 7.6 MB, in pieces, without a list of records anywhere."""
    assert world.publish(world.delta(world.records(100_000))).status_code == 200
    data, signed = world.tables["police"]
    client = world.client("insurer")
    assert client.get(f"{BASE}/police/1").content == data
    index = (1 << signed.header.prefix_bits) - 1
    digests = client.get(f"{BASE}/police/1/digests").content
    padded = client.get(f"{BASE}/police/1/buckets/{index}").content
    records = open_bucket(padded, digests, signed.header.prefix_bits, index)
    assert data.endswith(records)


def test_looked_up_identifier_opens_its_record(world):
    """From a blinded input over two holders to the payload that only its asker can open."""
    query = world.query((b"a suspect", b"nobody"))
    answer = world.post(world.sign(query.request, "police", case=NO_CASE, purpose=Purpose.PUBLISH),
                        name="police")  # fmt: skip
    for part in Reply.decode(answer.content).answers:
        query.receive(part)
    suspect, nobody = (derive_root(5, output) for output in query.finish())
    payload = Payload(
        Category.INVESTMENT, SourceClass.POLICE, Status.CONFIRMED, Use.COUNTER, Slot.SUSPECT,
        1, 310, 311, 320, bytes(12),
    )  # fmt: skip
    record = seal_record(suspect, 5, payload, bytes(range(12)))
    assert world.publish(world.delta([record, *world.records(50)])).status_code == 200
    table = world.client("insurer").get(f"{BASE}/police/1").content
    found = find(table, derive_tags(suspect, 1)[Slot.SUSPECT])
    assert open_record(suspect, 5, 1, Slot.SUSPECT, found) == payload
    assert find(table, derive_tags(nobody, 1)[Slot.SUSPECT]) is None
