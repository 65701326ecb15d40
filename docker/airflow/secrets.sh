#!/bin/sh
# Make what the stack keeps secret, once, into a volume per reader; look first whether the stack can start at all.
# Runs as root, as each file belongs to the user of the service that reads it.
set -eu
umask 077

VOLUMES=${VOLUMES:-/volumes}

# Given what is wrong with which value and how to mend it, end with one line.
refuse() {
    printf 'fs-sync: %s\n' "$*" >&2
    exit 1
}

# --- can it start? ------------------------------------------------------------------------------------------------------------------

# What `service-check` left is said once; the next start looks anew.
if [ -s "$VOLUMES/service/refused" ]; then
    said=$(cat "$VOLUMES/service/refused")
    rm -f "$VOLUMES/service/refused"
    refuse "$said"
fi

case ${AIRFLOW_UID:=50000} in
    '' | 0* | *[!0-9]*) refuse "AIRFLOW_UID is \"$AIRFLOW_UID\", but must be the number of an ordinary user: set AIRFLOW_UID=50000 in .env" ;;
esac
[ "${#AIRFLOW_UID}" -le 9 ] || refuse "AIRFLOW_UID is \"$AIRFLOW_UID\", which is no user's number: set AIRFLOW_UID=50000 in .env"

case ${STACK_MIN_MEMORY_MB:=3500} in
    '' | *[!0-9]*) refuse "STACK_MIN_MEMORY_MB is \"$STACK_MIN_MEMORY_MB\", but must be a number of megabytes" ;;
esac
memory=$(awk '/^MemTotal:/ {printf "%.0f", $2 / 1024}' /proc/meminfo)
[ "$memory" -ge "$STACK_MIN_MEMORY_MB" ] ||
    refuse "Docker has $memory MB of memory, and the stack needs $STACK_MIN_MEMORY_MB MB: give it more (in Docker Desktop: Settings, Resources)"

data=$VOLUMES/postgres-data/PG_VERSION
wanted=${POSTGRES_VERSION%%.*}
case $wanted in
    1[0-7]) ;;
    *) refuse "POSTGRES_VERSION is \"$POSTGRES_VERSION\", but must be 17 or earlier: later images keep their data elsewhere; set POSTGRES_VERSION=17.11 in .env" ;;
esac
if [ -s "$data" ]; then
    found=$(cat "$data")
    [ "$found" = "$wanted" ] || refuse "the volume postgres-data is PostgreSQL $found's, and POSTGRES_VERSION=$POSTGRES_VERSION can't read it:" \
        "set POSTGRES_VERSION to a $found in .env, or move the data over (README, Upgrades), or drop all with: docker compose down -v"
    [ -s "$VOLUMES/postgres/password" ] || refuse "the volume postgres-data is there, but the volume secrets-postgres with its password is not:" \
        "restore it, or drop the data as well with: docker compose down -v"
fi

installed=$(cat "${0%/*}/airflow_version")
[ "$installed" = "$AIRFLOW_VERSION" ] || refuse "AIRFLOW_VERSION is \"$AIRFLOW_VERSION\", but this fs-sync is made for Airflow $installed:" \
    "set AIRFLOW_VERSION=$installed in .env, or check out the fs-sync that is made for the other one"

used=$VOLUMES/airflow/airflow_version
if [ -s "$used" ]; then
    found=$(cat "$used")
    newest=$(printf '%s\n' "$found" "$installed" | sort -V | tail -n 1)
    [ "$newest" = "$installed" ] || refuse "the volumes were last used by Airflow $found, and this is $installed, which can't read its database:" \
        "check out the fs-sync that was used last, or drop the data with: docker compose down -v"
fi

# --- the secrets --------------------------------------------------------------------------------------------------------------------

# Given a volume, a file's name, its owner and mode, put standard input there whole or not at all.
put() {
    cat >"$VOLUMES/$1/.new"
    chown "$3" "$VOLUMES/$1/.new"
    chmod "$4" "$VOLUMES/$1/.new"
    mv "$VOLUMES/$1/.new" "$VOLUMES/$1/$2"
}

# Given a volume and a file's name, tell whether it is still to be made.
lacks() {
    [ ! -s "$VOLUMES/$1/$2" ]
}

# Given a number of bytes, print as many random ones in letters, digits, - and _.
random() {
    head -c "$1" /dev/urandom | base64 | tr -d '\n=' | tr '+/' '-_'
}

# Given a volume's name and one or more owners and modes of files to make there, see below.
airflow=$AIRFLOW_UID:0
database=999:999
broker=999:999
store=1000:1000
files=1000:1000
made=

if lacks airflow fernet_key; then
    # Fernet wants base64 with its padding.
    { random 32 && printf '='; } | put airflow fernet_key "$airflow" 0440
    made="$made fernet_key"
fi
for name in jwt_secret api_secret_key; do
    if lacks airflow "$name"; then
        random 64 | put airflow "$name" "$airflow" 0440
        made="$made $name"
    fi
done
if lacks airflow admin_password; then
    random 18 | put airflow admin_password "$airflow" 0440
    made="$made admin_password"
fi
if lacks airflow flower_basic_auth; then
    { printf 'admin:' && random 18; } | put airflow flower_basic_auth "$airflow" 0440
    made="$made flower_basic_auth"
fi

if lacks postgres password; then
    random 24 | put postgres password "$database" 0400
    made="$made postgres"
fi
password=$(cat "$VOLUMES/postgres/password")
printf 'postgresql+psycopg2://airflow:%s@postgres/airflow' "$password" | put airflow sql_alchemy_conn "$airflow" 0440
printf 'db+postgresql://airflow:%s@postgres/airflow' "$password" | put airflow result_backend "$airflow" 0440

if lacks redis password; then
    random 24 | put redis password "$broker" 0400
    made="$made redis"
fi
password=$(cat "$VOLUMES/redis/password")
# What is queued survives a restart of the broker.
printf 'dir /data\nappendonly yes\nrequirepass %s\n' "$password" | put redis redis.conf "$broker" 0400
printf 'redis://:%s@redis:6379/0' "$password" | put airflow broker_url "$airflow" 0440

if lacks minio root_password; then
    random 24 | put minio root_password "$store" 0400
    made="$made minio"
fi
put demo minio_password "$airflow" 0400 <"$VOLUMES/minio/root_password"

for host in source target; do
    if lacks "$host" ssh_host_ed25519_key; then
        rm -f "$VOLUMES/demo/.key" "$VOLUMES/demo/.key.pub"
        ssh-keygen -q -t ed25519 -N '' -C "$host" -f "$VOLUMES/demo/.key"
        put demo "${host}_host_key.pub" "$airflow" 0444 <"$VOLUMES/demo/.key.pub"
        put "$host" ssh_host_ed25519_key "$files" 0400 <"$VOLUMES/demo/.key"
        made="$made ${host}_host_key"
    fi
    if lacks "$host" authorized_keys; then
        rm -f "$VOLUMES/demo/.key" "$VOLUMES/demo/.key.pub"
        ssh-keygen -q -t ed25519 -N '' -C fs-sync -f "$VOLUMES/demo/.key"
        put demo "${host}_key" "$airflow" 0400 <"$VOLUMES/demo/.key"
        put "$host" authorized_keys "$files" 0444 <"$VOLUMES/demo/.key.pub"
        made="$made ${host}_key"
    fi
done
rm -f "$VOLUMES/demo/.key" "$VOLUMES/demo/.key.pub"

# --- whose the volumes are ----------------------------------------------------------------------------------------------------------

# AIRFLOW_UID may have changed since the files were made.
chown "$airflow" "$VOLUMES"/airflow/* "$VOLUMES"/demo/*
for volume in airflow demo postgres redis minio source target; do
    chmod 0755 "$VOLUMES/$volume"
done
# An image that runs as root by default leaves its volume to root.
chown "$broker" "$VOLUMES/redis-data"
chown "$store" "$VOLUMES/minio-data"
chown "$airflow" "$VOLUMES/airflow-logs"
chown -R "$airflow" "$VOLUMES/worker-jobs"
chmod 0775 "$VOLUMES/airflow-logs"
chmod 0700 "$VOLUMES/worker-jobs"

printf '%s' "$installed" | put airflow airflow_version "$airflow" 0444
echo "fs-sync: secrets made:${made:- none, all were there}"
