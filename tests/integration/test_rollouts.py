"""Canaries and shadows on real processes: what is worse, slow or failing is taken back, what is good is promoted."""

import json

from artifacts.store import Store, parse
from tests import candidates
from tests.deployment import Deployment, until
from tests.real import Home

SECONDS = 15.0


def test_bad_candidates_are_taken_back_a_good_one_is_promoted_and_no_request_fails(home, tmp_path, pictures):
    store = Store(tmp_path / "home" / "models")
    candidates.publish(store, home.path / "models" / "digits" / "1")
    candidates.begin_with_damage(store)
    deployment = Deployment(Home(tmp_path / "home"), None, tmp_path)
    try:
        server = deployment.server(command=(*candidates.PROGRAM, "serve"))
        until(lambda: server.client.get("/health/ready")[0] == 200, 60, "it is not ready")
        candidates.watch(store, server.client, pictures.encoded[0], SECONDS)
    finally:
        deployment.end()


def test_a_key_stays_on_its_side_a_shadow_answers_nobody_and_both_stop(home, tmp_path, publish_again, pictures):
    store = Store(tmp_path / "home" / "models")
    for name in ("sticky", "shadowed"):
        for _ in range(2):
            publish_again(store, name)
        store.deploy(parse(f"{name}@1"))
    two = Home(tmp_path / "home")
    assert two.json("deploy", "sticky@2", "--canary", "50%", "--for", "1h", "--require", "none")["status"] == "running"
    shadow = two.run("deploy", "shadowed@2", "--shadow", "100%", "--for", "1h")
    assert shadow.returncode == 0
    (tmp_path / "logs").mkdir()
    deployment = Deployment(two, None, tmp_path / "logs")
    try:
        client = deployment.server().client
        data = pictures.encoded[0]

        def version(query="", **headers):
            status, _, answer = client.request("POST", f"/predict{query}", data, Content_Type="image/png", **headers)
            assert status == 200, answer
            return json.loads(answer)["model"]["version"]

        until(lambda: version("?model=sticky") == 2, 60, "the canary answers nobody")

        def everywhere():  # each request is a connection of its own, and comes to either process
            return any({version(f"?model=sticky&sticky=user-{n}") for _ in range(20)} == {2} for n in range(8))

        until(everywhere, 60, "not every process has the canary")
        sides = {n: version(f"?model=sticky&sticky=user-{n}") for n in range(12)}
        assert set(sides.values()) == {1, 2}
        for n, side in sides.items():
            assert {version("?model=sticky", Tintype_Key=f"user-{n}") for _ in range(3)} == {side}
        assert version("?model=sticky&version=1&sticky=any") == 1
        assert {version("?model=sticky&alias=production") for _ in range(8)} == {1}
        assert version("?model=sticky&alias=canary") == 2
        assert {version("?model=shadowed") for _ in range(30)} == {1}
        until(lambda: two_compared(two) >= 5, 60, "the shadow is asked about nothing")
        assert two.run("deploy", "sticky@2", "--canary", "10%", "--require", "none").returncode == 1
        for name in ("sticky", "shadowed"):
            stopped = two.json("rollout", name, "--stop", "--why", "enough")
            assert stopped["status"] == "stopped"
            assert stopped["reason"].endswith("enough")
            assert store.aliases(name) == {"production": 1}
        until(lambda: {version("?model=sticky") for _ in range(20)} == {1}, 30, "the canary goes on")
    finally:
        deployment.end()


def two_compared(home):
    told = home.json("rollout", "shadowed")["measured"]
    assert told["disagreed"] == 0
    return told["compared"]
