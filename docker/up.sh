#!/bin/sh
# Start the stack and wait until it is healthy; what keeps it from starting is said in one line, with the mend.
# Usage: docker/up.sh   (from anywhere; as `docker compose up -d --wait`, which works as well)
set -eu
cd "$(dirname "$0")/.."

ENGINE=20.10
COMPOSE=2.20.2

refuse() {
    printf 'fs-sync: %s\n' "$*" >&2
    exit 1
}

port_line() {
    echo "$1 is taken by another program: set AIRFLOW_PORT (for flower FLOWER_PORT) in .env to a free port"
}

# Given two versions, tell whether the first is the second or newer.
at_least() {
    [ "$(printf '%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}

command -v docker >/dev/null 2>&1 || refuse "docker is not there: install Docker, or on Debian run docker/offline/engine start"
if ! engine=$(docker version --format '{{.Server.Version}}' 2>&1); then
    refuse "no Docker engine answers ($(printf '%s\n' "$engine" | tail -n 1)): start it, or on Debian run docker/offline/engine start"
fi
at_least "$engine" "$ENGINE" || refuse "Docker's engine is $engine, and docker-compose.yml needs $ENGINE or later: install a newer one"
compose=$(docker compose version --short 2>/dev/null) || refuse "docker has no compose plugin: install docker-compose-plugin $COMPOSE or later"
compose=${compose#v}
at_least "$compose" "$COMPOSE" || refuse "docker compose is $compose, and docker-compose.yml needs $COMPOSE or later: install a newer one"

# Given a port, tell whether a program of this machine listens there already (Linux; elsewhere the engine finds out).
taken() {
    grep -Eqs "^ *[0-9]+: (0100007F|0{8}|0{32}):$(printf '%04X' "$1") [0-9A-F]+:0000 0A " /proc/net/tcp /proc/net/tcp6
}

for path in dags include templates docker/airflow docker/host pyproject.toml README.md; do
    closed=$(find "$path" ! -perm -o=r -print | head -n 1)
    [ -z "$closed" ] || refuse "$closed can't be read by the containers' users: run chmod -R o+rX dags include templates docker pyproject.toml README.md"
done

name=$(docker compose config | sed -n 's/^name: //p')
ours=$(docker ps --filter "label=com.docker.compose.project=$name" --format '{{.Ports}}')
for port in $(docker compose config | sed -n 's/^ *published: "\([0-9]*\)"$/\1/p'); do
    case $ours in
        *"127.0.0.1:$port->"*) ;;
        *) if taken "$port"; then refuse "$(port_line "127.0.0.1:$port")"; fi ;;
    esac
done

# Where a network re-signs TLS, the machine's own certificates are what pip needs too.
if [ -z "${BUILD_CA:-}" ] && [ -s "${SSL_CERT_FILE:-}" ]; then
    export BUILD_CA="$SSL_CERT_FILE"
fi

said=$(mktemp)
trap 'rm -f "$said"' EXIT
# What compose says goes to the terminal as it comes, and is looked at if it fails.
{ docker compose --progress plain up -d --build --wait 2>&1 && echo ok >"$said.rc"; } | tee "$said" || true
if [ -e "$said.rc" ]; then
    rm -f "$said.rc"
    port=$(docker compose port airflow-apiserver 8080)
    echo "fs-sync: Airflow is at http://$port (user admin; make password prints the password)"
    exit 0
fi
# The services that make things say in their log why they can't, in further lines that are set in if need be.
for service in secrets airflow-init demo-init service-init; do
    grep -q "\"$service\" didn't complete" "$said" || continue
    why=$(docker compose logs --no-color --no-log-prefix "$service" 2>/dev/null |
        awk '{ gsub(/\033\[[0-9]*K/, "") } sub(/.*fs-sync: /, "") { said = $0; next } /^  [A-Za-z]/ { said = said "\n" $0 } END { print said }')
    refuse "${why:-"$service" failed; look with: docker compose logs $service}"
done
if taken=$(grep -E 'address already in use|port is already allocated' "$said" | grep -oE '127\.0\.0\.1:[0-9]+' | head -n 1) && [ -n "$taken" ]; then
    refuse "$(port_line "$taken")"
fi
refuse "docker compose could not start all services: $(tail -n 1 "$said"); look with: docker compose ps --all; docker compose logs"
