#!/usr/bin/env bash
# Copies a storage root in a folder, with MLflow's database, to a new folder:
#   infra/backup.sh /data/anomalyclip /backups/2026-11-26 [postgresql://mlflow@localhost/mlflow]
# A root in a bucket is copied by the bucket's own means (versioning, replication); give an empty root, "", and the
# database then. Logins of PostgreSQL come from ~/.pgpass or PGPASSFILE. infra/restore.sh puts everything back.
set -euo pipefail

stop() {
    echo "error: $*" >&2
    exit 2
}

[ $# -ge 2 ] && [ $# -le 3 ] || stop "usage: infra/backup.sh ROOT TARGET [DATABASE]"
root=${1%/} target=${2%/} database=${3:-}
[ -n "$root$database" ] || stop "nothing to copy: give a root, a database, or both"
[ ! -e "$target" ] || stop "$target exists: give a new folder"

if [ -n "$root" ]; then
    [ -d "$root" ] || stop "$root is no folder of this machine: give the storage root"
    root=$(cd "$root" && pwd)
    busy=$(find "$root" -name 'lock-*.json' -newermt '-60 seconds' -print -quit)
    [ -z "$busy" ] || stop "a job works here (${busy%/*}): wait for its end, or stop it; the same command resumes it"
fi

umask 077 # whoever reads a backup reads the results and the models
mkdir -p "$target.partial"
trap 'rm -rf "$target.partial"' EXIT

# the database first: files that it does not know yet harm nobody, files that it knows must be there
[ -z "$database" ] || pg_dump --format=custom --file="$target.partial/mlflow.dump" --dbname="$database"
if [ -n "$root" ]; then
    if [ -f "$root/mlflow/mlflow.db" ]; then
        python3 - "$root/mlflow/mlflow.db" "$target.partial/mlflow.db" << 'END'
import sqlite3
import sys

source, copy = (sqlite3.connect(path) for path in sys.argv[1:])
source.backup(copy)
END
    fi
    printf '%s\n' "$root" > "$target.partial/root"
    tar --create --file="$target.partial/storage.tar" --directory="$root" \
        --exclude='./mlflow/mlflow.db*' --exclude='*.partial' --exclude='lock-*.json' .
fi
(cd "$target.partial" && sha256sum -- * > SHA256SUMS)
mv "$target.partial" "$target"
echo "$target: $(du -sh "$target" | cut -f1)"
