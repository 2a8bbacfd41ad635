#!/usr/bin/env bash
# Puts back what infra/backup.sh has copied, where it was: MLflow's database has the paths of its files.
#   infra/restore.sh /backups/2026-11-26 [postgresql://mlflow@localhost/mlflow]
# What is there now is not overwritten: move the storage root away, and give an empty database.
set -euo pipefail

stop() {
    echo "error: $*" >&2
    exit 2
}

[ $# -ge 1 ] && [ $# -le 2 ] || stop "usage: infra/restore.sh BACKUP [DATABASE]"
backup=${1%/} database=${2:-}
[ -f "$backup/SHA256SUMS" ] || stop "$backup is no backup, or not a whole one"
(cd "$backup" && sha256sum --check --quiet SHA256SUMS) || stop "$backup is damaged: take another one"
[ ! -f "$backup/mlflow.dump" ] || [ -n "$database" ] || stop "the backup has a database of PostgreSQL: give where to"
[ -f "$backup/mlflow.dump" ] || [ -z "$database" ] || stop "the backup has no database of PostgreSQL"

if [ -f "$backup/root" ]; then
    root=$(cat "$backup/root")
    [ ! -e "$root" ] || stop "$root exists: move it away first"
    umask 077
    mkdir -p "$root.partial"
    trap 'rm -rf "$root.partial"' EXIT
    tar --extract --file="$backup/storage.tar" --directory="$root.partial" --preserve-permissions
    [ ! -f "$backup/mlflow.db" ] || install -D --mode=600 "$backup/mlflow.db" "$root.partial/mlflow/mlflow.db"
fi
[ -z "$database" ] || pg_restore --exit-on-error --single-transaction --no-owner --dbname="$database" "$backup/mlflow.dump"
[ ! -f "$backup/root" ] || mv "$root.partial" "$root"
echo "restored: ${root:+$root }${database:+MLflow\'s database}"
