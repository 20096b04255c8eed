#!/usr/bin/env bash
# From a fresh clone to a first prediction, a retraining with one more class, its deploy and rollback, and four workers,
# all with docker-compose as the README has it. `make compose-test` runs it; it needs git, curl and a Docker engine.
#
# It takes what it needs under names of its own and removes that, and nothing else, when it ends. KEEP=1 leaves it.
set -euo pipefail

most_seconds=1200
root=$(cd "$(dirname "$0")/../.." && pwd)

docker info >/dev/null 2>&1 || { echo "skipped: no Docker engine answers here"; exit 0; }
if docker compose version >/dev/null 2>&1; then
    compose() { docker compose "$@"; }
elif command -v docker-compose >/dev/null; then
    compose() { docker-compose "$@"; }
else
    echo "skipped: there is no docker-compose here"
    exit 0
fi

work=$(mktemp -d)
name=tintype-test-$$
export COMPOSE_PROJECT_NAME=$name TAG=$name PICTURES=$work/pictures SECRETS=$work/tintype/secrets
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export API_ADDRESS=127.0.0.1:$port
url=http://$API_ADDRESS

# The networks of a machine's engine may reach nothing: builds use the machine's own.
cat >"$work/host.yml" <<YAML
services:
  redis: {build: {network: host}}
  api: {build: {network: host}}
  worker: {build: {network: host}}
  trainer: {build: {network: host}}
  keys: {build: {network: host}}
YAML
export COMPOSE_FILE=$work/tintype/docker-compose.yml:$work/host.yml

step="" began=$SECONDS
finish_step() { [ -z "$step" ] || printf '   %s: %d s\n' "$step" $((SECONDS - began)); step=""; }
step() { finish_step; step=$1 began=$SECONDS; printf '\n== %s\n' "$step"; }
fail() { echo "failed: $*" >&2; exit 1; }

clean_up() {
    code=$?
    [ "$code" = 0 ] || [ ! -e "$work/tintype/docker-compose.yml" ] || compose logs --tail 40 2>&1 | tail -100 || true
    if [ -z "${KEEP:-}" ]; then
        [ ! -e "$work/tintype/docker-compose.yml" ] || compose down --volumes --remove-orphans --timeout 5 >/dev/null 2>&1 || true
        for image in redis serve trainer; do docker image rm "tintype/$image:$name" >/dev/null 2>&1 || true; done
        rm -rf "$work"
    fi
    exit "$code"
}
trap clean_up EXIT

# until SECONDS COMMAND…: the command succeeds in time.
until_true() {
    local end=$((SECONDS + $1)); shift
    until "$@"; do [ $SECONDS -lt $end ] || fail "never came true: $*"; sleep 0.5; done
}

ask() { curl --silent --show-error --max-time 30 --header "Authorization: Bearer $key" "$@"; }
answers() { [ "$(curl --silent --output /dev/null --max-time 10 --write-out '%{http_code}' "$url$1")" = 200 ]; }
predict() { ask --header "Content-Type: image/png" --data-binary "@$1" "$url/predict"; }
# answer PICTURE: the version and the label that it says.
answer() {
    local told; told=$(predict "$1")
    grep -o '"version": *[0-9]*' <<<"$told" | head -1 | tr -dc 0-9
    grep -o '"label": *"[^"]*"' <<<"$told" | head -1 | cut -d '"' -f 4 | sed 's/^/ /'
}
says() { [ "$(answer "$1")" = "$3 $2" ]; }
says_not() { case $(answer "$1") in "$3 $2" | '') false ;; "$3 "*) true ;; *) false ;; esac; }
workers() { [ "$(ask "$url/metrics" | awk '/^tintype_workers/ {all += $NF} END {print int(all)}')" = "$1" ]; }
# order WHAT JSON: the id of a training or job that is now queued.
order() { ask --header "Content-Type: application/json" --data "$2" "$url/$1" | sed -n 's/.*"id": *"\([^"]*\)".*/\1/p'; }
# over WHAT ID: it has ended; it has to have ended well.
over() {
    local told; told=$(ask "$url/$1/$2")
    case $told in
        *'"status":"succeeded"'* | *'"status": "succeeded"'*) true ;;
        *'"status":"failed"'* | *'"status": "failed"'*) fail "$told" ;;
        *) false ;;
    esac
}

step "clone"
git clone --quiet "$root" "$work/tintype"
cd "$work/tintype"

step "make secrets"
make --no-print-directory secrets

step "docker-compose build"
compose build >"$work/build.log" 2>&1 || { tail -40 "$work/build.log"; fail "docker-compose build"; }
docker image ls --format '   {{.Repository}} {{.Size}}' --filter "reference=tintype/*:$name"
bytes=$(docker image inspect --format '{{.Size}}' "tintype/serve:$name")
[ "$bytes" -lt 600000000 ] || fail "the serving image has $bytes bytes"
docker run --rm "tintype/serve:$name" python -c 'import importlib.util as u, sys; sys.exit(any(map(u.find_spec, ("tensorflow", "keras"))))' ||
    fail "the serving image has TensorFlow or Keras"

step "pictures: ten digits, of which the first training gets nine"
mkdir "$PICTURES"
docker run --rm --interactive --user "$(id -u):$(id -g)" --volume "$PICTURES:/out" "tintype/trainer:$name" python - <<'PYTHON'
from collections import Counter
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

scans, seen = load_digits(), Counter()
for pixels, label in zip(scans.images, scans.target):
    picture = Image.fromarray((pixels * 15).astype("uint8")).resize((32, 32), Image.Resampling.BILINEAR)
    seen[label] += 1
    for folder in ("ten", "nine")[: 1 + (label < 9)]:
        path = Path("/out", folder, str(label), f"{seen[label]}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
PYTHON
three=$PICTURES/ten/3/7.png nine=$PICTURES/ten/9/7.png

step "a key"
key=$(compose run --rm -T keys add tester --scopes predict,jobs,deploy,train | tail -1 | tr -d '\r')

step "docker-compose up"
compose up -d >"$work/up.log" 2>&1 || { tail -40 "$work/up.log"; fail "docker-compose up"; }
until_true 120 answers /health/live

step "first training: POST /trainings"
training=$(order trainings '{"name": "digits", "data": "nine", "preset": "digits", "precision": "fp32", "deploy": true}')
[ -n "$training" ] || fail "the training was not taken"
until_true 600 over trainings "$training"

step "first prediction"
until_true 60 answers /health/ready
until_true 60 says "$three" 3 1
predict "$three"; echo

step "what nobody may"
[ "$(curl --silent --output /dev/null --write-out '%{http_code}' --data-binary "@$three" "$url/predict")" = 401 ] ||
    fail "a request without a key is not refused"
redis=$(compose ps -q redis)
[ -z "$(docker port "$redis")" ] || fail "Redis has a published port"
docker exec "$redis" redis-cli get tintype:workers 2>&1 | grep -q NOAUTH || fail "Redis lets in who gives no password"
for container in $(compose ps -q); do
    for secret in redis_api redis_worker redis_trainer; do
        ! docker inspect "$container" | grep -q -F "$(cat "$SECRETS/$secret")" || fail "docker inspect shows $secret"
    done
    [ "$(docker exec "$container" id -u)" != 0 ] || fail "$container runs as root"
    ! docker exec "$container" touch /tintype-was-here 2>/dev/null || fail "$container may write to its root"
done

step "one more class: docker-compose run --rm trainer tintype retrain"
compose run --rm -T trainer tintype retrain digits --data /pictures/ten --precision fp32 --deploy
until_true 60 says "$nine" 9 2
predict "$nine"; echo

step "rollback"
ask --request POST "$url/models/digits/rollback"; echo
until_true 60 says_not "$nine" 9 1

step "docker-compose up -d --scale worker=4"
compose up -d --scale worker=4 >"$work/scale.log" 2>&1 || { tail -40 "$work/scale.log"; fail "docker-compose up --scale"; }
until_true 120 workers 4
says "$three" 3 1 || fail "four workers do not answer as one did"

step "a folder, shared among them"
job=$(order jobs '{"folder": "ten"}')
[ -n "$job" ] || fail "the folder was not taken"
until_true 300 over jobs "$job"
rows=$(ask "$url/jobs/$job/results?format=csv" | tail -n +2 | wc -l)
[ "$rows" = 1797 ] || fail "the table has $rows rows, not 1797"

step "docker-compose stop"
compose stop >/dev/null 2>&1
for container in $(compose ps -aq 2>/dev/null || compose ps -q); do
    code=$(docker inspect --format '{{.State.ExitCode}} {{.State.OOMKilled}} {{.Name}}' "$container")
    case $code in "0 false "*) ;; *) fail "ended with $code" ;; esac
done

finish_step
printf '\n%d s in all\n' $SECONDS
[ $SECONDS -lt $most_seconds ] || fail "it took longer than $most_seconds s"
