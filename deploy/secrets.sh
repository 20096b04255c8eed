#!/bin/sh
# Make the secrets of docker-compose.yml: `make secrets`, or this script alone. What is there already stays.
#
# A container sees its secrets as files of whoever made them, and its process runs under an id of its own, so the files can
# be read by all; the folder can be entered by its owner alone, so nobody else on this machine reaches them. Redis gets
# the digests of the passwords only.
set -eu
umask 077
folder=${1:-secrets}
here=$(dirname "$0")
mkdir -p "$folder"
chmod 0700 "$folder"

random() {
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

# keep NAME: what comes in becomes the file, whole or not at all.
keep() {
    cat >"$folder/.$1"
    chmod 0444 "$folder/.$1"
    mv "$folder/.$1" "$folder/$1"
}

for name in redis_api redis_worker redis_trainer grafana_admin; do
    [ -s "$folder/$name" ] || random | keep "$name"
done

# Prometheus's API key comes here when it is made (docs/docker.md); until then it is not let in.
[ -e "$folder/metrics_key" ] || : >"$folder/metrics_key"
chmod 0644 "$folder/metrics_key"

digest() {
    sha256sum <"$folder/$1" | cut -d ' ' -f 1
}

sed -e '/^# /d' -e '/^#$/d' -e "s/#API/#$(digest redis_api)/" -e "s/#WORKER/#$(digest redis_worker)/" \
    -e "s/#TRAINER/#$(digest redis_trainer)/" "$here/redis/users.acl" | keep redis_users
echo "$folder"
