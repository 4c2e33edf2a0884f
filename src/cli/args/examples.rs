//! The examples at the end of the long help texts.

/// Of Rehome as a whole, and its exit codes.
pub(super) const EXAMPLES: &str = "\
Examples:
  rehome status                            where each volume's data lives now
  rehome move --to /mnt/data --dry-run     what a move would do, step by step
  rehome move --to /mnt/data               the move
  rehome move --to volumes                 and back, with everything that was written since
  rehome resume                            finish a run that was interrupted

Exit codes:
   0  done
   1  failed: the engine, the network, a file system
   2  the command line or rehome.yml cannot be understood
   3  refused before anything changed
  10  failed and rolled back: everything is as it was
  11  interrupted: resume or rollback goes on
  12  stuck: a person is needed, and what to do is printed
  70  a bug in Rehome";

/// Of `init`.
pub(super) const INIT_EXAMPLES: &str = "\
Examples:
  rehome init --dry-run     what would be written
  rehome init               write rehome.yml beside the Compose file";

/// Of `mount`.
pub(super) const MOUNT_EXAMPLES: &str = "\
Examples:
  rehome mount --at /mnt/kms-data --dry-run     what would be done, each command and line
  rehome mount --at /mnt/kms-data               the one attached volume that is free
  rehome mount --at /mnt/kms-data --device /dev/disk/by-id/scsi-0DO_Volume_kms-data";

/// Of `size`.
pub(super) const SIZE_EXAMPLES: &str = "\
Examples:
  rehome size                                                            from what the volumes hold now
  rehome size --records 5000 --record-size 6MB --db-row-size 150KB       before there is anything";

/// Of `override`.
pub(super) const OVERRIDE_EXAMPLES: &str = "\
Examples:
  rehome override --to /mnt/data             print it
  rehome override --to /mnt/data --write     write it, and set COMPOSE_FILE in .env
  rehome override --check                    exit 3 unless the stack runs with it";

/// Of `env`.
pub(super) const ENV_EXAMPLES: &str = "\
Examples:
  eval \"$(rehome env)\"     for this shell
  rehome env --write        for everybody, in .env";

/// Of `move`.
pub(super) const MOVE_EXAMPLES: &str = "\
Examples:
  Say what would be done, and change nothing:
    rehome move --to /mnt/kms-data --dry-run

  Move every volume of the project to the block volume mounted at /mnt/kms-data:
    rehome move --to /mnt/kms-data

  The same, but only after a backup:
    rehome move --to /mnt/kms-data --backup

  Move only the uploads, into /mnt/kms-data/uploads, and give them to user 1000:
    rehome move --to /mnt/kms-data --only media_volume \\
        --map media_volume=uploads --owner media_volume=1000:1000

  Copy gently, and give up (stack up, nothing changed) if it would be down for longer than two minutes:
    rehome move --to /mnt/kms-data --bandwidth 50MB --max-downtime 2m

  Show visitors a page of your own while the stack stands still:
    rehome move --to /mnt/kms-data --maintenance-page sorry.html

  Go back to Docker's own volumes, with everything that was written since:
    rehome move --to volumes";

/// Of `compose`.
pub(super) const COMPOSE_EXAMPLES: &str = "\
Examples:
  rehome compose -- ps
  rehome compose -- up -d
  rehome compose -- exec api python manage.py createsuperuser";

/// Of `up`, `down`, `ps`, `logs` and `exec`.
pub(super) const PASS_EXAMPLES: &str = "\
Examples:
  rehome up                      docker compose up -d, from any directory of the project
  rehome logs -f --tail 20 api
  rehome exec api python manage.py createsuperuser
  rehome -p kms down             options of Rehome's own go before the word";

/// Of `restart`.
pub(super) const RESTART_EXAMPLES: &str = "\
Examples:
  rehome restart api             with what .env says now
  rehome restart --dry-run       which services would be made anew, and why";

/// Of `backup`.
pub(super) const BACKUP_EXAMPLES: &str = "\
Examples:
  rehome backup create                   now, to the places of backup.to in rehome.yml
  rehome backup list
  rehome backup verify --drill           is the last one any good? It is restored into throw-away containers
  rehome backup restore --latest         replace the data by the last one; shows the plan and asks
  rehome backup schedule --at 02:00      every night";

/// Of `backup create`.
pub(super) const CREATE_EXAMPLES: &str = "\
Examples:
  rehome backup create --dry-run
  rehome backup create --to /var/backups/kms --to s3://bucket/kms
  rehome backup create --only db --pin   before something dangerous: only the database, and it stays";

/// Of `backup verify`.
pub(super) const VERIFY_EXAMPLES: &str = "\
Examples:
  rehome backup verify                   every byte of the last one
  rehome backup verify --drill --identity key.txt
  rehome backup verify 20261122T020000Z-7k2f9a --from s3://bucket/kms";

/// Of `backup restore`.
pub(super) const RESTORE_EXAMPLES: &str = "\
Examples:
  rehome backup restore --latest --dry-run
  rehome backup restore --latest --from s3://bucket/kms --identity key.txt     on a new server
  rehome backup restore --latest --only media_volume                           one volume; the rest goes on
  rehome backup restore --latest --only media_volume --path uploads/2026       a directory of it, while services go on
  rehome backup restore --latest --only db --database shop                     one database of a PostgreSQL
  rehome backup restore --latest --only media_volume --into media_old          into a new volume, to look at it
  rehome backup restore --latest --into ../staging                             into another project
  rehome backup restore --from dump.sql.gz --only db --database shop           a file that pg_dump wrote";

/// Of `backup schedule`.
pub(super) const SCHEDULE_EXAMPLES: &str = "\
Examples:
  rehome backup schedule --at 02:00 --dry-run     what would be written, each line
  rehome backup schedule --at 'Mon..Fri 02:00'
  rehome backup schedule --remove";

/// Of `backup freeze`.
pub(super) const FREEZE_EXAMPLES: &str = "\
Examples:
  rehome backup freeze -- doctl compute volume snapshot VOLUME-ID --snapshot-name kms
  rehome backup freeze --limit 10s -- aws ec2 create-snapshot --volume-id vol-0123
  rehome backup freeze -- true           what would stand still, and for how long";

/// Of `s3`.
pub(super) const S3_EXAMPLES: &str = "\
Examples:
  rehome s3 setup                                   the bucket, its settings, and whether it works
  rehome s3 sync                                    the files of the volume into the bucket
  rehome s3 verify                                  every file against its object, by content
  rehome s3 pull --to /srv/media                    the other way round
  rehome s3 settings --framework django --write     what the application needs, in files
  rehome s3 policy --bucket obcms-media             the least that its keys must be allowed
  rehome s3 cost --storage 50GB --egress 100GB";

/// Of `s3 sync`.
pub(super) const S3_SYNC_EXAMPLES: &str = "\
Examples:
  rehome s3 sync --dry-run                          what would be sent
  rehome s3 sync --exclude cache/ --bandwidth 20MB  without what can be made again, and gently
  rehome s3 sync --delete                           and objects go whose files went";

/// Of `s3 pull`.
pub(super) const S3_PULL_EXAMPLES: &str = "\
Examples:
  rehome s3 pull --dry-run                          what is only in the bucket, or another there
  rehome s3 pull --only-missing                     into the volume, over nothing
  rehome s3 pull --to /srv/media --include docs/    a part of it, into a directory";

/// Of `s3 policy`.
pub(super) const S3_POLICY_EXAMPLES: &str = "\
Examples:
  rehome s3 policy --bucket obcms-media --prefix media/
  rehome s3 policy --bucket obcms-media --create-user-commands     a user with it, and a key
  rehome s3 policy --bucket obcms-media --setup                    for whoever makes the bucket";

/// Of `s3 settings`.
pub(super) const S3_SETTINGS_EXAMPLES: &str = "\
Examples:
  rehome s3 settings --framework django             print them
  rehome s3 settings --framework django --write     into files beside the Compose file";

/// Of `s3 cost`.
pub(super) const S3_COST_EXAMPLES: &str = "\
Examples:
  rehome s3 cost --storage 50GB --puts 100000 --gets 1000000 --egress 100GB
  rehome s3 cost --storage 2TB --region eu-central-1
  rehome s3 cost --gets 1000000 --egress 100GB          of what the project's uploads are now
  rehome s3 cost --storage 50GB --prices prices.yml     your own, like templates/s3/prices.yml";

/// Of `serve`.
pub(super) const SERVE_EXAMPLES: &str = "\
Examples:
  rehome serve user add ada                         asks for a password twice
  rehome serve                                      on http://127.0.0.1:7434
  rehome serve token create ci --scope operate      prints a token, once
  rehome serve --socket /run/rehome.sock            for a proxy on this machine
  rehome serve unit --write                         as a service of systemd, sandboxed";

/// Of `site`.
pub(super) const SITE_EXAMPLES: &str = "\
Examples:
  rehome site add blog --project /srv/blog
  rehome site enable blog --plan                what would happen, step by step
  rehome site enable blog                       from now on what it writes to /data stays
  rehome site move blog --to /mnt/data/sites    its data onto the block volume
  rehome site list                              where the data of each is, how much, whose";

/// Of `site add`.
pub(super) const SITE_ADD_EXAMPLES: &str = "\
Examples:
  rehome site add blog --project /srv/blog
  rehome site add shop --project /srv/shop --service web      of several services
  rehome site add wiki --image wiki:2 --port 3000 --health /healthz
  rehome site add chat --image chat:1 --port 8080:3000        another port on this machine";

/// Of `site import`.
pub(super) const SITE_IMPORT_EXAMPLES: &str = "\
Examples:
  rehome site import /var/deploy/panel.db --dry-run
  rehome site import /var/deploy/panel.db --projects /var/deploy/sites";
