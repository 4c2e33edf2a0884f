#!/bin/sh
# Brings the database and the static files up to date, then runs the command.
set -e
python manage.py migrate --noinput
python manage.py collectstatic --noinput
exec "$@"
