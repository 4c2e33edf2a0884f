//! A real Django with the settings that Rehome writes for it: which storage it takes, where that looks, and that what was
//! uploaded is there.

use std::path::Path;
use std::process::Command;

use rehome::s3::S3Settings;
use serde_json::Value;

use super::support::{asked, project, python, rehome, said, server};

/// Says which storages Django has, as it made them.
const LOOK: &str = "
import json, django
from django.conf import settings
from django.core.files.storage import storages
django.setup()
names = ['location', 'bucket_name', 'region_name', 'endpoint_url', 'access_key', 'default_acl', 'file_overwrite',
         'querystring_auth', 'custom_domain', 'object_parameters', 'addressing_style', 'signature_version']
def told(storage):
    kind = type(storage)
    return {'class': f'{kind.__module__}.{kind.__qualname__}', **{n: getattr(storage, n, None) for n in names}}
print(json.dumps({alias: told(storages[alias]) for alias in ('default', 'public', 'staticfiles')}))
";

/// A project whose settings take in what Rehome wrote: in a package, as most have it.
fn site(s3: &str) -> tempfile::TempDir {
    let dir = project(s3);
    said(&mut rehome(
        dir.path(),
        &["s3", "settings", "--framework", "django", "--write"],
    ));
    let package = dir.path().join("config");
    std::fs::create_dir(&package).unwrap();
    for name in ["s3_settings.py", "s3_storages.py"] {
        std::fs::rename(dir.path().join(name), package.join(name)).unwrap();
    }
    settings(&package, "from .s3_settings import *");
    dir
}

fn settings(directory: &Path, import: &str) {
    let text = format!(
        "SECRET_KEY = 'tests'\nMEDIA_ROOT = '/srv/media'\nMEDIA_URL = '/media/'\nSTATIC_URL = '/static/'\n\
         STATIC_ROOT = '/srv/static'\n{import}\n"
    );
    std::fs::write(directory.join("settings.py"), text).unwrap();
}

fn django(site: &Path, env: &[(&str, &str)]) -> Command {
    let mut command = python();
    command
        .current_dir(site)
        .env("DJANGO_SETTINGS_MODULE", "config.settings")
        .envs(env.iter().copied());
    command
}

fn seen(site: &Path, env: &[(&str, &str)]) -> Value {
    asked(&mut django(site, env), LOOK, "")
}

const ON: [(&str, &str); 4] = [
    ("USE_S3", "1"),
    ("AWS_STORAGE_BUCKET_NAME", "obcms-media"),
    ("AWS_S3_REGION_NAME", "eu-central-1"),
    ("AWS_ACCESS_KEY_ID", "me"),
];

#[test]
fn with_the_switch_off_uploads_stay_on_the_disk() {
    let site = site("{ bucket: obcms-media }");
    for off in [
        &[][..],
        &[("USE_S3", "0")],
        &[("USE_S3", "False")],
        &[("USE_S3", "")],
    ] {
        let seen = seen(site.path(), off);
        for alias in ["default", "public"] {
            assert_eq!(
                seen[alias]["class"],
                "django.core.files.storage.filesystem.FileSystemStorage"
            );
            assert_eq!(seen[alias]["location"], "/srv/media");
        }
        assert_eq!(
            seen["staticfiles"]["class"],
            "whitenoise.storage.CompressedManifestStaticFilesStorage"
        );
    }
}

#[test]
fn with_the_switch_on_they_go_to_the_bucket_below_the_prefix() {
    let site =
        site("{ prefix: up/loads, acl: private, cache_control: max-age=86400, storage_class: STANDARD_IA }");
    for on in ["1", "true", "YES", " on "] {
        let mut env = ON.to_vec();
        env[0] = ("USE_S3", on);
        env.push(("AWS_S3_CUSTOM_DOMAIN", "cdn.example.org"));
        let seen = seen(site.path(), &env);
        let default = &seen["default"];
        assert_eq!(default["class"], "config.s3_storages.PrivateMediaStorage");
        assert_eq!(default["bucket_name"], "obcms-media");
        assert_eq!(default["location"], "up/loads/");
        assert_eq!(default["region_name"], "eu-central-1");
        assert_eq!(default["access_key"], "me");
        assert_eq!(default["endpoint_url"], Value::Null);
        assert_eq!(default["default_acl"], "private");
        assert_eq!(default["file_overwrite"], false);
        assert_eq!(
            default["object_parameters"],
            serde_json::json!({ "CacheControl": "max-age=86400", "StorageClass": "STANDARD_IA" })
        );
        // A signed URL, and so none of the other domain.
        assert_eq!(default["querystring_auth"], true);
        assert_eq!(default["custom_domain"], Value::Null);
        let public = &seen["public"];
        assert_eq!(public["class"], "config.s3_storages.PublicMediaStorage");
        assert_eq!(public["location"], default["location"]);
        assert_eq!(public["querystring_auth"], false);
        assert_eq!(public["custom_domain"], "cdn.example.org");
        assert_eq!(
            seen["staticfiles"]["class"],
            "whitenoise.storage.CompressedManifestStaticFilesStorage"
        );
    }
}

#[test]
fn an_acl_is_only_sent_where_one_is_configured_and_a_public_one_makes_it_the_default() {
    let none = seen(site("{}").path(), &ON);
    assert_eq!(none["default"]["default_acl"], Value::Null);
    assert_eq!(none["default"]["location"], "media/");
    let public = seen(site("{ acl: public-read }").path(), &ON);
    assert_eq!(
        public["default"]["class"],
        "config.s3_storages.PublicMediaStorage"
    );
    assert_eq!(public["default"]["default_acl"], "public-read");
}

#[test]
fn the_files_may_also_lie_where_the_settings_are_no_package() {
    let dir = project("{}");
    said(&mut rehome(
        dir.path(),
        &["s3", "settings", "--framework", "django", "--write"],
    ));
    settings(dir.path(), "from s3_settings import *");
    let mut command = django(dir.path(), &ON);
    let seen = asked(command.env("DJANGO_SETTINGS_MODULE", "settings"), LOOK, "");
    assert_eq!(seen["default"]["class"], "s3_storages.PrivateMediaStorage");
}

#[test]
fn django_and_rehome_reach_the_same_storage() {
    let site = site("{}");
    for more in [
        &[][..],
        &[("AWS_S3_ENDPOINT_URL", "https://s3.example.org/")],
        &[(
            "AWS_S3_ENDPOINT_URL",
            "https://obcms-media.fra1.digitaloceanspaces.com",
        )],
        &[("AWS_ENDPOINT_URL", "http://garage:3900")],
        &[("USE_DO_SPACES", "True")],
        &[
            ("USE_DO_SPACES", "1"),
            ("AWS_S3_ENDPOINT_URL", "https://nyc3.digitaloceanspaces.com"),
        ],
        &[("USE_DO_SPACES", "0")],
        &[("USE_MINIO", "1"), ("MINIO_ENDPOINT_URL", "minio:9000")],
        &[
            ("USE_MINIO", "yes"),
            ("MINIO_ENDPOINT_URL", "minio:9000"),
            ("MINIO_USE_SSL", "on"),
        ],
        &[
            ("USE_MINIO", "1"),
            ("MINIO_ENDPOINT_URL", "http://minio:9000"),
            ("AWS_S3_ENDPOINT_URL", "https://other"),
        ],
        &[("USE_MINIO", "off"), ("MINIO_ENDPOINT_URL", "minio:9000")],
        &[("USE_MINIO", "1"), ("AWS_S3_ENDPOINT_URL", "http://other:9000")],
    ] {
        let secret = ("AWS_SECRET_ACCESS_KEY", "hunter2");
        let env: Vec<_> = ON.iter().chain([&secret]).chain(more).copied().collect();
        let names = |name: &str| {
            let found = env.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let ours = S3Settings::from_names("obcms-media", &names).unwrap();
        let theirs = &seen(site.path(), &env)["default"];
        assert_eq!(
            theirs["endpoint_url"],
            serde_json::json!(ours.endpoint),
            "{more:?}"
        );
        assert_eq!(theirs["region_name"], serde_json::json!(ours.region), "{more:?}");
        let path = (ours.endpoint.is_some()).then_some("path");
        assert_eq!(theirs["addressing_style"], serde_json::json!(path), "{more:?}");
    }
}

#[test]
fn what_is_missing_is_said_and_not_guessed() {
    let site = site("{}");
    for (env, words) in [
        (
            &[("USE_S3", "1")][..],
            "USE_S3 is on, and AWS_STORAGE_BUCKET_NAME names no bucket",
        ),
        (
            &[
                ("USE_S3", "1"),
                ("AWS_STORAGE_BUCKET_NAME", "media"),
                ("USE_DO_SPACES", "1"),
            ],
            "AWS_S3_REGION_NAME says which Spaces",
        ),
    ] {
        let output = django(site.path(), env).args(["-c", LOOK]).output().unwrap();
        assert!(!output.status.success());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = told.trim_end().lines().last().unwrap();
        assert!(
            last.contains("ImproperlyConfigured") && last.contains(words),
            "{told}"
        );
    }
}

/// Uploads through Django, and looks at the bucket with something else.
const UPLOAD: &str = "
import json, os, urllib.error, urllib.request, boto3, django
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
django.setup()
bucket = os.environ['AWS_STORAGE_BUCKET_NAME']
other = boto3.client('s3', endpoint_url=os.environ['AWS_S3_ENDPOINT_URL'])
def keys():
    return sorted(found['Key'] for found in other.list_objects_v2(Bucket=bucket).get('Contents', []))
def status(url):
    try:
        return urllib.request.urlopen(url, timeout=20).status
    except urllib.error.HTTPError as error:
        return error.code
other.create_bucket(Bucket=bucket)
try:
    other.put_object(Bucket=bucket, Key='up/loads/from/the volume.txt', Body=b'old')
    told = {'old': default_storage.open('from/the volume.txt').read().decode()}
    first = default_storage.save('test/h\\u00e9llo+1.txt', ContentFile(b'Hello S3'))
    second = default_storage.save(first, ContentFile(b'another'))
    told.update(first=first, another=second != first, keys=keys())
    told['body'] = other.get_object(Bucket=bucket, Key='up/loads/' + first)['Body'].read().decode()
    told['cache'] = other.head_object(Bucket=bucket, Key='up/loads/' + first)['CacheControl']
    url = default_storage.url(first)
    told.update(signed=status(url), unsigned=status(url.split('?')[0]))
    default_storage.delete(first)
    told['gone'] = not default_storage.exists(first)
finally:
    for key in keys():
        other.delete_object(Bucket=bucket, Key=key)
    other.delete_bucket(Bucket=bucket)
print(json.dumps(told))
";

#[test]
fn an_upload_is_in_the_bucket_and_what_came_from_the_volume_is_found() {
    let site = site("{ prefix: up/loads, cache_control: max-age=60 }");
    let (id, secret) = server("KEYS").split_once(':').unwrap();
    let bucket = format!("rehome-django-{}", std::process::id());
    let env = [
        ("USE_S3", "1"),
        ("AWS_STORAGE_BUCKET_NAME", bucket.as_str()),
        ("AWS_S3_ENDPOINT_URL", server("SEAWEEDFS")),
        ("AWS_S3_REGION_NAME", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", id),
        ("AWS_SECRET_ACCESS_KEY", secret),
    ];
    let told = asked(&mut django(site.path(), &env), UPLOAD, "");
    assert_eq!(told["old"], "old");
    assert_eq!(told["first"], "test/h\u{e9}llo+1.txt");
    assert_eq!(told["another"], true, "nothing is overwritten");
    let keys: Vec<&str> = told["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key.as_str().unwrap())
        .collect();
    assert_eq!(keys.len(), 3);
    assert!(keys.contains(&"up/loads/test/h\u{e9}llo+1.txt"), "{keys:?}");
    assert!(keys.iter().all(|key| key.starts_with("up/loads/")), "{keys:?}");
    assert_eq!(
        (&told["body"], &told["cache"]),
        (&"Hello S3".into(), &"max-age=60".into())
    );
    assert_eq!((&told["signed"], &told["unsigned"]), (&200.into(), &403.into()));
    assert_eq!(told["gone"], true);
}
