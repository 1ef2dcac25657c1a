#!/bin/sh
# certbot runs this when it has renewed a certificate. It puts certificate, chain and key into one
# file that the server may read, and has the server read it.
# Install it as /etc/letsencrypt/renewal-hooks/deploy/nymea-remoteproxy, executable, owned by root.
set -eu

name=${NYMEA_NAME:-proxy.example.org}
file=${NYMEA_FILE:-/etc/nymea/tls/proxy.example.org.pem}
group=${NYMEA_GROUP:-nymea-remoteproxy}
reload=${NYMEA_RELOAD:-systemctl try-reload-or-restart nymea-remoteproxy 'nymea-remoteproxy@*'}
# Without systemd: reload='kill -HUP $(cat /run/nymea-remoteproxy.pid)'

# certbot tells of every certificate of this machine
case " $RENEWED_DOMAINS " in
    *" $name "*) ;;
    *) exit 0 ;;
esac

# Nobody but root sees the new file before it has its group, and nobody ever sees half of it:
# certificate and key change places with the old ones in one step.
umask 077
new=$(mktemp "$file.XXXXXX")
trap 'rm -f "$new"' EXIT
cat "$RENEWED_LINEAGE/privkey.pem" "$RENEWED_LINEAGE/fullchain.pem" > "$new"
chgrp "$group" "$new"
chmod 640 "$new"
mv -f "$new" "$file"

sh -c "$reload"
