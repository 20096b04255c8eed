"""Folders in a bucket, beside a real S3 server."""

import json
import shutil
from pathlib import Path

import pytest

from serving.errors import NotNow
from serving.jobs import cloud, roots
from serving.jobs.chunk import classify_chunk
from serving.jobs.cloud import CloudFolder
from serving.jobs.folders import to_folder
from serving.jobs.hints import CHUNK, FINISH, LIST, Hint
from serving.jobs.inputs import read_chunk, write_listing
from serving.jobs.job import Status
from serving.jobs.manifest import read_manifest
from serving.jobs.store import Jobs, Order
from serving.jobs.walk import Hidden
from serving.jobs.work import Work
from tests.jobs import MODEL, OneModel, hands, write_pictures
from tests.real import Home, serving
from tests.s3_server import S3Server

FILES = 18
TABLES = ("results.csv", "results.parquet", "results.jsonl", "rejects.csv")


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    server = S3Server(tmp_path_factory.mktemp("s3")).start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server
    server.stop()


@pytest.fixture
def here(tmp_path, encode):
    """Pictures in a folder of this machine."""
    folder = write_pictures(tmp_path / "pictures", FILES, encode)
    (folder / "0003.png").rename(folder / "0003 ä*?[x]#%41+.png")
    (folder / "sub").mkdir()
    (folder / "0004.png").rename(folder / "sub" / "0004.png")
    return folder


@pytest.fixture
def there(s3, here, tmp_path):
    """The same in a bucket of its own."""
    bucket = f"b-{tmp_path.name.replace('_', '-')[-40:]}".lower()
    s3.upload(here, bucket, "some/pictures")
    return CloudFolder(f"s3://{bucket}/some/pictures")


@pytest.fixture
def jobs(tmp_path):
    return Jobs(tmp_path / "jobs")


@pytest.fixture
def work(jobs, classifier):
    return Work(jobs, OneModel(classifier), hands())


def whole(work, job):
    work.perform(Hint(LIST, job.id))
    for number in range(job.listed().chunks):
        work.perform(Hint(CHUNK, job.id, number))
    work.perform(Hint(FINISH, job.id))


def test_pages_make_one_listing_which_goes_on_behind_any_object(there, monkeypatch, s3):
    found = list(there.walk())
    assert [each.path for each in found] == sorted(each.path for each in found)
    assert len(found) == FILES
    monkeypatch.setattr(cloud, "PAGE", 7)
    bucket = there.url.split("/")[2]
    before = s3.asked("GET", f"/{bucket}?list-type=2")
    assert list(there.walk()) == found
    assert s3.asked("GET", f"/{bucket}?list-type=2") - before == 3
    for place in (0, 6, 13, FILES - 1):
        assert list(there.walk(found[place].path)) == found[place + 1 :]


def test_what_is_noted_of_an_object_changes_with_it(there, here, s3):
    was = {each.path: each for each in there.walk()}
    path = here / "sub" / "0004.png"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    s3.upload(here / "sub", there.url.split("/")[2], "some/pictures/sub")
    now = {each.path: each for each in there.walk()}
    assert [path for path in was if was[path] != now[path]] == ["sub/0004.png"]
    assert was["sub/0004.png"].size == now["sub/0004.png"].size == path.stat().st_size


def test_hidden_objects_and_the_marks_of_folders_are_left_out(there, s3, tmp_path):
    for name in (".git/config", "a/.hidden", "a/b"):
        (tmp_path / "more" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "more" / name).write_bytes(b"x")
    bucket = there.url.split("/")[2]
    s3.upload(tmp_path / "more", bucket, "marks")
    s3.mark(bucket, "marks/a/")
    hidden = Hidden()
    assert [each.path for each in CloudFolder(f"s3://{bucket}/marks").walk(None, hidden)] == ["a/b"]
    assert hidden.count == 2


def test_the_rows_are_those_of_the_files_and_each_object_is_read_once(there, here, s3, tmp_path, classifier):
    expected = {}
    for folder in (here, there):
        write_listing(folder, tmp_path / "inputs", tmp_path / "job")
        rows = classify_chunk(folder, read_chunk(tmp_path / "inputs", 0).inputs, classifier)
        expected.setdefault("rows", {row["path"]: row for row in rows})
        assert {row["path"]: row for row in rows} == expected["rows"]
    assert s3.asked("GET", f"/{there.url.split('/')[2]}/") == FILES


def test_a_job_of_a_bucket_comes_to_the_results_of_the_folder(there, here, jobs, work, s3):
    shutil.rmtree(here / "sub")
    s3.remove(there.url.split("/")[2], "some/pictures/sub/0004.png")
    found = []
    for folder in (here, there):
        job = jobs.create(Order(folder, MODEL, 1_000_000))
        whole(work, job)
        assert job.status() == Status.SUCCEEDED
        found.append({name: (job.path / name).read_bytes() for name in TABLES})
    assert found[0] == found[1]


def test_an_object_that_is_gone_is_a_row_and_the_others_are_classified(there, jobs, work, s3):
    job = jobs.create(Order(there, MODEL, 1_000_000))
    work.perform(Hint(LIST, job.id))
    s3.remove(there.url.split("/")[2], "some/pictures/0008.png")
    whole(work, job)
    assert job.status() == Status.SUCCEEDED
    assert (
        "0008.png,file_unreadable,the file cannot be read (No such file or directory)"
        in (job.path / "rejects.csv").read_text()
    )


def test_a_network_that_is_away_pauses_the_job_until_it_is_back(there, here, jobs, work, s3):
    job = jobs.create(Order(there, MODEL, 1_000_000))
    work.perform(Hint(LIST, job.id))
    s3.stop()
    work.perform(Hint(CHUNK, job.id, 0))
    assert (job.status(), list(job.parts.rglob("*.parquet"))) == (Status.PAUSED, [])
    assert f"{there} cannot be reached now" in job.reason()
    with pytest.raises(NotNow, match="cannot be reached now"):
        next(there.walk())
    s3.start()
    s3.upload(here, there.url.split("/")[2], "some/pictures")
    whole(work, job)
    assert job.status() == Status.SUCCEEDED


def test_a_bucket_that_is_denied_pauses_the_job(there, jobs, work, s3):
    job = jobs.create(Order(there, MODEL, 1_000_000))
    with s3.denied():
        work.perform(Hint(LIST, job.id))
        assert (job.status(), job.reason()) == (Status.PAUSED, f"{there} may not be listed: access is denied")
        with pytest.raises(NotNow, match="may not be listed: access is denied"):
            there.exists()
    whole(work, job)
    assert job.status() == Status.SUCCEEDED


def test_a_manifest_names_objects_by_path_or_address(there, tmp_path):
    (tmp_path / "list.csv").write_text(
        f"path,label\n0001.png,dark\n{there}/sub/0004.png,\nnone.png,\n../x.png,\ns3://other/x.png,\n{there}/../y,\n"
    )
    found = list(read_manifest(tmp_path / "list.csv", there, 0))
    assert [(each.path, each.truth, each.problem.partition(":")[0]) for each in found] == [
        ("0001.png", "dark", ""),
        (f"{there}/sub/0004.png", "", ""),
        ("none.png", "", "file_unreadable"),
        ("../x.png", "", "outside"),
        ("s3://other/x.png", "", "outside"),
        (f"{there}/../y", "", "outside"),
    ]
    listed = {each.path: each for each in there.walk()}
    assert found[0]._replace(truth="") == listed["0001.png"]
    assert [len(read()) for read in there.readers(found[:2])] == [each.size for each in found[:2]]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("pictures", "/pictures"),
        ("", ""),
        ("{root}/pictures/", "/pictures"),
        ("{root}", ""),
        ("../other", None),
        ("{root}/../some", None),
        ("{root}-2", None),
        ("s3://other/pictures", None),
        ("nothing", None),
    ],
)
def test_what_is_below_a_root_is_found_and_nothing_else(there, text, place):
    root = there.url.rpartition("/")[0]
    found = roots.find_folder(root, text.format(root=root))
    assert found == (None if place is None else (to_folder(root + place), ""))


def test_a_manifest_below_a_root_is_found(there, s3, tmp_path):
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "list.csv").write_text("path\n")
    bucket = there.url.split("/")[2]
    s3.upload(tmp_path / "lists", bucket, "lists")
    assert roots.find_manifest(f"s3://{bucket}", "lists/list.csv") == (CloudFolder(f"s3://{bucket}/lists"), "list.csv")
    for text in ("lists/none.csv", "lists", "../lists/list.csv", ""):
        assert roots.find_manifest(f"s3://{bucket}", text) is None


def test_what_is_fetched_in_advance_fits_into_memory(there, monkeypatch):
    monkeypatch.setattr(cloud, "AHEAD_BYTES", 1)
    found = list(there.walk())
    assert [len(read()) for read in there.readers(found)] == [each.size for each in found]


def test_a_bucket_goes_through_the_command_and_the_server(there, here, s3, home, tmp_path, pictures):
    folder = tmp_path / "digits"
    folder.mkdir()
    for number, encoded in enumerate(pictures.encoded[:20]):
        (folder / f"{number:02d}.png").write_bytes(encoded)
    (folder / "notes.txt").write_text("not a picture")
    bucket = there.url.split("/")[2]
    s3.upload(folder, bucket, "digits/test")
    mine = Home(tmp_path / "home")
    shutil.copytree(home.path / "models", mine.path / "models")
    mine.environment |= {**s3.environment, "TINTYPE_FOLDERS": f"{tmp_path}:s3://{bucket}/digits"}
    found = [tables(mine.json("classify", place)["job"]) for place in (folder, f"s3://{bucket}/digits/test")]
    assert found[0] == found[1]
    with serving(mine) as (_, client):
        told = mine.json("classify", f"s3://{bucket}/digits/test", "--url", f"http://127.0.0.1:{client.port}")
        assert (told["status"], told["done"], told["rejected"]) == ("succeeded", 21, 1)
        assert tables(mine.path / "jobs" / told["id"]) == found[0]
        for name in (f"s3://{bucket}/some/pictures", f"s3://{bucket}/digits/../some/pictures", "none"):
            body = json.dumps({"folder": name}).encode()
            status, _, answer = client.request("POST", "/jobs", body, Content_Type="application/json")
            assert (status, json.loads(answer)["code"]) == (400, "bad_request")
        s3.stop()
        body = json.dumps({"folder": f"s3://{bucket}/digits/test"}).encode()
        status, _, answer = client.request("POST", "/jobs", body, Content_Type="application/json")
        assert (status, json.loads(answer)["code"]) == (503, "not_now")
        s3.start()


def tables(job):
    return {name: Path(job, name).read_bytes() for name in TABLES}
