import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import pytest

from artifacts import settings as settings_module
from serving.errors import BadRequest, NotNow
from serving.jobs import notice as notices
from serving.jobs.job import Status
from serving.jobs.notice import ATTEMPTS, LONGEST_WAIT, Notice, State
from serving.jobs.progress import describe
from serving.jobs.store import Jobs, Order
from serving.jobs.webhook import Webhooks, check, deliver, secrets, signature
from tests.jobs import MODEL
from tests.receiver import SECRET, receiving

OTHER = "whsec_" + "b" * 40


@pytest.fixture
def receiver():
    with receiving() as made:
        yield made


@pytest.fixture
def settings(tmp_path, receiver):
    (tmp_path / "secret").write_text(SECRET + "\n")
    return settings_module.read({
        "TINTYPE_HOME": str(tmp_path),
        "TINTYPE_WEBHOOK_HOSTS": f"hooks.example.org, 127.0.0.1:{receiver.port}",
        "TINTYPE_WEBHOOK_SECRET": str(tmp_path / "secret"),
    })  # fmt: skip


@pytest.fixture
def jobs(settings):
    return Jobs(settings.jobs)


@pytest.fixture
def job(jobs, receiver, tmp_path):
    """One that was cancelled, and is to tell of it."""
    made = jobs.create(Order(tmp_path / "pictures", MODEL, 1000, webhook=receiver.address))
    jobs.cancel(made.id)
    return made


def test_the_signature_is_that_of_the_standards_own_example(tmp_path, settings):
    (tmp_path / "secret").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    assert signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, secrets(settings)) == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


def test_a_message_that_is_not_accepted_is_sent_again_with_its_id_and_body(job, settings, receiver):
    receiver.statuses = [500]
    told = describe(job)
    first = deliver(job, settings)
    assert (first.state, first.attempts, first.answer) == (State.WAITING, 1, "500")
    assert not notices.is_settled(job.path)
    second = deliver(job, settings)
    assert (second.state, second.attempts, second.answer) == (State.DELIVERED, 2, "204")
    assert notices.is_settled(job.path)
    one, two = receiver.got
    assert one.id == two.id == first.id
    assert one.body == two.body
    assert json.loads(one.body) == told
    assert one.is_signed()
    assert two.is_signed()
    assert not one.is_signed(OTHER)
    assert one.path == "/done?job=1"
    assert deliver(job, settings) == second
    assert len(receiver.got) == 2
    assert describe(job)["webhook"] == {"state": "delivered", "attempts": 2, "answer": "204"}


def test_a_redirection_is_no_acceptance_and_is_not_followed(job, settings, receiver):
    receiver.statuses = [302]
    assert deliver(job, settings).state == State.WAITING
    assert len(receiver.got) == 1


def test_a_receiver_that_wants_no_more_gets_no_more(job, settings, receiver):
    receiver.statuses = [410]
    assert deliver(job, settings).state == State.GIVEN_UP
    assert notices.is_settled(job.path)


def test_a_receiver_that_is_away_is_tried_ever_more_seldom_until_it_is_given_up(job, settings):
    with receiving() as gone:
        address = gone.address
    away = replace(settings, webhook_hosts=settings_module.Names([f"127.0.0.1:{gone.port}"]))
    notice = deliver(replace(job, webhook=address), away)
    assert notice.state == State.WAITING
    assert "refused" in notice.answer
    waits, moment = [], notice.due - 1
    for _ in range(ATTEMPTS - 1):
        attempted = notice.attempted()
        waits.append(attempted.due - moment)
        notice = attempted.answered("503", accepted=False, final=False)
    assert [round(wait) for wait in waits[:4]] == [4, 16, 64, 256]
    assert max(waits) < LONGEST_WAIT + 60
    assert sum(waits) > 2 * 86_400
    assert (notice.attempts, notice.state) == (ATTEMPTS, State.GIVEN_UP)


def test_one_that_was_killed_in_the_middle_of_an_attempt_is_followed_by_another_with_the_same_id(
    job, settings, receiver
):
    begun = notices.prepare(job.path).attempted()
    notices.keep(job.path, replace(begun, body="{}"))  # and here it was killed
    assert not notices.is_due(job.path)
    notices.keep(job.path, replace(begun, body="{}", due=0.0))
    assert notices.is_due(job.path)
    done = deliver(job, settings)
    assert (done.id, done.attempts, done.state) == (begun.id, 2, State.DELIVERED)
    assert (receiver.got[0].id, receiver.got[0].body) == (begun.id, b"{}")


def test_of_many_who_prepare_a_message_all_get_one(job):
    barrier = threading.Barrier(8)

    def prepare():
        barrier.wait()
        return notices.prepare(job.path).id

    with ThreadPoolExecutor(8) as pool:
        assert len({each.result() for each in [pool.submit(prepare) for _ in range(8)]}) == 1


def test_each_end_is_told_of(jobs, job, settings, receiver):
    deliver(job, settings)
    jobs.resume(job.id)
    assert describe(job)["webhook"] == {"state": "waiting", "attempts": 0, "answer": None}
    (job.path / "summary.json").write_text('{"total": 3, "rejected": 0}')
    deliver(job, settings)
    jobs.resume(job.id)  # it is over already, and stays so
    assert notices.is_settled(job.path)
    first, second = receiver.got
    assert first.id != second.id
    assert [json.loads(each.body)["status"] for each in receiver.got] == ["cancelled", "succeeded"]


def test_an_attempt_that_outlives_its_end_settles_no_other(jobs, job, settings):
    begun = notices.prepare(job.path).attempted()
    jobs.resume(job.id)
    notices.keep(job.path, begun.answered("204", accepted=True, final=False))
    jobs.cancel(job.id)
    assert notices.find(job.path) is None
    assert notices.prepare(job.path).state == State.WAITING


def test_a_job_is_marked_until_its_end_was_told(jobs, job, settings, receiver, eventually):
    receiver.statuses = [503]
    assert (jobs.active(), jobs.untold()) == ([], [job])
    (jobs.root / ".active" / job.id).unlink()
    jobs.heal()
    webhooks = Webhooks(jobs, settings)
    assert webhooks.busy
    while jobs.untold():
        webhooks.turn()
    eventually(lambda: not webhooks.busy)
    assert len(receiver.got) == 2
    jobs.active()
    assert not list((jobs.root / ".active").iterdir())


def test_a_receiver_that_hangs_holds_up_nobody(jobs, job, settings, receiver, tmp_path, eventually):
    receiver.go_on.clear()
    webhooks = Webhooks(jobs, settings)
    webhooks.turn()
    webhooks.turn()
    eventually(lambda: len(receiver.got) == 1)
    other = jobs.create(Order(tmp_path / "pictures", MODEL, 1000, webhook=receiver.address))
    jobs.cancel(other.id)
    webhooks.turn()
    eventually(lambda: len(receiver.got) == 2)
    receiver.go_on.set()
    eventually(lambda: not jobs.untold() and not webhooks.busy)
    assert len(receiver.got) == 2


def test_a_job_that_is_deleted_meanwhile_is_nobodys_trouble(jobs, job, settings, eventually):
    seen_before = jobs.untold()
    jobs.delete(job.id)
    Webhooks(SimpleNamespace(untold=lambda: seen_before), settings).turn()
    eventually(lambda: not [each for each in threading.enumerate() if each.name == "webhook"])
    assert not job.path.exists()


def test_a_job_without_a_webhook_tells_nobody(jobs, tmp_path):
    job = jobs.create(Order(tmp_path / "pictures", MODEL, 1000))
    jobs.cancel(job.id)
    assert (jobs.untold(), describe(job)["webhook"]) == ([], None)


def test_two_who_fail_a_job_make_one_end_of_it(jobs, tmp_path):
    job = jobs.create(Order(tmp_path / "pictures", MODEL, 1000))
    job.mark(Status.FAILED, "damaged")
    before = (job.path / "failed").stat().st_mtime_ns
    job.mark(Status.FAILED, "damaged as well")
    assert (job.reason(), (job.path / "failed").stat().st_mtime_ns) == ("damaged", before)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("https://hooks.example.org/a", None),
        ("http://HOOKS.example.org", None),
        ("https://hooks.example.org:8443/a", "leads to hooks.example.org:8443, which TINTYPE_WEBHOOK_HOSTS does not"),
        ("http://127.0.0.1/", "leads to 127.0.0.1:80, which"),
        ("https://example.org/", "which TINTYPE_WEBHOOK_HOSTS does not allow"),
        ("https://hooks.example.org.evil.net/", "does not allow"),
        ("https://user:pass@hooks.example.org/", "must be an address such as"),
        ("https://evil.net@hooks.example.org/", "must be an address such as"),
        ("file:///etc/passwd", "must be an address such as"),
        ("gopher://hooks.example.org/", "must be an address such as"),
        ("//hooks.example.org/", "must be an address such as"),
        ("https://hooks.example.org:99999/", "must be an address such as"),
        ("https://hooks.example.org/a b", "must be an address such as"),
        ("https://hooks.example.org/a\r\nX: y", "must be an address such as"),
        ("https://[::1/", "must be an address such as"),
        ("", "must be an address such as"),
    ],
)
def test_messages_go_to_hosts_that_are_named_and_nowhere_else(settings, address, says):
    if says is None:
        check(address, settings)
        return
    with pytest.raises(BadRequest, match=says):
        check(address, settings)


def test_without_hosts_or_a_secret_there_are_no_webhooks(settings, tmp_path, job, receiver):
    with pytest.raises(BadRequest, match="TINTYPE_WEBHOOK_HOSTS is not set on the server, so it sends no webhooks"):
        check("https://hooks.example.org/", replace(settings, webhook_hosts=settings_module.Names()))
    for secret in ("", str(tmp_path / "none")):
        with pytest.raises(NotNow, match="TINTYPE_WEBHOOK_SECRET must name a file on the server"):
            check("https://hooks.example.org/", replace(settings, webhook_secret=secret))
    for text in ("", "whsec_", "whsec_c2hvcnQ=", "whsec_é", "whsec_" + "!" * 40):
        (tmp_path / "secret").write_text(text)
        with pytest.raises(NotNow, match="base64 of 24 to 64 bytes"):
            secrets(settings)
    assert "TINTYPE_WEBHOOK_SECRET" in deliver(job, settings).answer
    assert receiver.got == []


def test_while_one_secret_replaces_another_both_sign(settings, tmp_path, job, receiver):
    (tmp_path / "secret").write_text(f"{OTHER}\n{SECRET}\n")
    deliver(job, settings)
    (message,) = receiver.got
    assert message.is_signed(OTHER)
    assert message.is_signed(SECRET)


def test_a_notice_is_read_as_it_was_kept(tmp_path):
    notice = notices.prepare(tmp_path)
    kept = Notice(notice.id, State.GIVEN_UP, 3, 12.5, "502", '{"a": "ä"}')
    notices.keep(tmp_path, kept)
    assert notices.find(tmp_path) == kept
