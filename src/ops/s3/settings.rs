//! What an application needs to keep its uploads on S3: files for its framework, filled in from the configuration. Nothing
//! secret is in them.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Uploads;
use crate::block::boot::fill;
use crate::compose::replace_file;
use crate::model::config::{Acl, S3};
use crate::model::{Failure, Result};

/// A framework that there are files for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Framework {
    /// Django, with django-storages.
    Django,
}

/// The files for Django.
const DJANGO: [(&str, &str); 4] = [
    (
        "s3_settings.py",
        include_str!("../../../templates/s3/django/s3_settings.py"),
    ),
    (
        "s3_storages.py",
        include_str!("../../../templates/s3/django/s3_storages.py"),
    ),
    (
        "s3_requirements.txt",
        include_str!("../../../templates/s3/django/s3_requirements.txt"),
    ),
    (
        "s3.env.example",
        include_str!("../../../templates/s3/django/s3.env.example"),
    ),
];

/// A file of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rendered {
    /// What it is called.
    pub name: &'static str,
    /// Its text.
    pub text: String,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It was not there.
    Written,
    /// It was there, byte for byte.
    AlreadySo,
}

/// The files for a framework.
///
/// # Errors
/// When the switch of rehome.yml is none that they understand.
pub fn framework_settings(uploads: &Uploads, framework: Framework) -> Result<Vec<Rendered>> {
    let Framework::Django = framework;
    django(&uploads.s3)
}

fn django(s3: &S3) -> Result<Vec<Rendered>> {
    let switch = switch(s3)?;
    let mut parameters = Vec::new();
    if let Some(value) = &s3.cache_control {
        parameters.push(format!("\"CacheControl\": {}", python(value)?));
    }
    if let Some(class) = &s3.storage_class {
        parameters.push(format!("\"StorageClass\": {}", python(class)?));
    }
    let default = match s3.acl.is_some_and(Acl::is_public) {
        true => "PublicMediaStorage",
        false => "PrivateMediaStorage",
    };
    let bucket = match &s3.bucket {
        Some(bucket) => format!("AWS_STORAGE_BUCKET_NAME={bucket}"),
        None => "#AWS_STORAGE_BUCKET_NAME=".to_owned(),
    };
    let acl = match s3.acl {
        Some(acl) => python(acl.as_str())?,
        None => "None".to_owned(),
    };
    let values = [
        ("switch", switch.to_owned()),
        ("prefix", s3.prefix.to_string()),
        ("acl", acl),
        ("parameters", format!("{{{}}}", parameters.join(", "))),
        ("default", default.to_owned()),
        ("bucket", bucket),
    ];
    let files = DJANGO.into_iter().map(|(name, template)| {
        Ok(Rendered {
            name,
            text: fill(template, &values)?,
        })
    });
    files.collect()
}

/// The variable that the application looks at: the one that the configuration sets to a yes.
fn switch(s3: &S3) -> Result<&str> {
    let yes = |value: &str| ["1", "true", "yes", "on"].contains(&value.to_ascii_lowercase().as_str());
    let usual = s3.switch.get_key_value("USE_S3");
    let mut all = usual.into_iter().chain(&s3.switch);
    match all.find(|(_, value)| yes(value)) {
        Some((name, _)) => Ok(name),
        None => Err(Failure::refused("`s3.switch` of rehome.yml turns nothing on")
            .cause("the settings take 1, true, yes and on for yes")
            .data("nothing was changed")
            .hint("as in s3: { switch: { USE_S3: \"1\" } }")),
    }
}

/// A text as Python reads it: of what may stand in the configuration, JSON's escapes mean the same there.
fn python(text: &str) -> Result<String> {
    serde_json::to_string(text).map_err(|e| Failure::bug("a text that cannot be quoted").because(&e))
}

/// Writes the files into a directory. A file that is there and differs is never replaced: then none is written.
///
/// # Errors
/// Refused, naming those that differ; or when a file can be neither read nor written.
pub fn write_settings(files: &[Rendered], directory: &Path, dry_run: bool) -> Result<Vec<(PathBuf, State)>> {
    let mut found = Vec::new();
    let mut differ = Vec::new();
    for file in files {
        let path = directory.join(file.name);
        match fs::read(&path) {
            Ok(there) if there == file.text.as_bytes() => found.push((path, State::AlreadySo)),
            Ok(_) => differ.push(path),
            // A link that leads nowhere is somebody's file all the same.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !path.is_symlink() => {
                found.push((path, State::Written));
            }
            Err(error) => {
                let failure = Failure::environment(format!("cannot read {}", path.display()));
                return Err(failure.because(&error).data("nothing was written"));
            }
        }
    }
    if let Some(first) = differ.first() {
        let failure = Failure::refused("there are other files of these names already");
        let failure = differ
            .iter()
            .fold(failure, |failure, path| failure.cause(path.display().to_string()));
        return Err(failure.data("nothing was written").hint(format!(
            "look at what would be written: rehome s3 settings; then move {} away, or change it by hand",
            first.display()
        )));
    }
    if !dry_run {
        for ((path, _), file) in found
            .iter()
            .zip(files)
            .filter(|((_, state), _)| *state == State::Written)
        {
            replace_file(path, file.text.as_bytes())?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::config::parse;

    fn rendered(s3: &str) -> Result<Vec<Rendered>> {
        django(&parse(&format!("version: 1\ns3: {s3}\n")).unwrap().s3)
    }

    fn all(s3: &str) -> String {
        let files = rendered(s3).unwrap();
        let parts: Vec<String> = files
            .iter()
            .map(|file| format!("==> {}\n{}", file.name, file.text))
            .collect();
        parts.join("\n")
    }

    #[test]
    fn the_files_for_django_are_these() {
        insta::assert_snapshot!(all("{}"));
    }

    #[test]
    fn what_is_configured_is_in_them() {
        let text = all(
            "{ bucket: obcms-media, prefix: up/loads, acl: public-read, cache_control: 'max-age=60, x=\"y\\z\"', storage_class: STANDARD_IA, switch: { S3_ON: yes } }",
        );
        for line in [
            "    location = \"up/loads/\"\n",
            "    default_acl = \"public-read\"\n",
            r#"{"CacheControl": "max-age=60, x=\"y\\z\"", "StorageClass": "STANDARD_IA"}"#,
            "S3_ON = _yes(\"S3_ON\")\n",
            ".PublicMediaStorage\"},\n        \"public\"",
            "\nAWS_STORAGE_BUCKET_NAME=obcms-media\n",
            "\nS3_ON=0\n",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(!text.contains("USE_S3 "), "{text}");
    }

    #[test]
    fn a_switch_that_django_would_take_for_off_is_refused() {
        let failure = rendered("{ switch: { STORAGE: s3 } }").unwrap_err();
        assert_eq!(failure.kind, crate::model::Kind::Refused);
        assert!(all("{ switch: { STORAGE: s3, USE_S3: 'True' } }").contains("USE_S3 = _yes"));
    }

    #[test]
    fn a_file_that_differs_is_never_replaced_and_one_that_is_the_same_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let files = rendered("{}").unwrap();
        let states = |found: &[(PathBuf, State)]| found.iter().map(|(_, state)| *state).collect::<Vec<_>>();
        let dry = write_settings(&files, dir.path(), true).unwrap();
        assert_eq!(states(&dry), [State::Written; 4]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        fs::write(dir.path().join("s3_storages.py"), &files[1].text).unwrap();
        fs::write(dir.path().join("s3.env.example"), "mine\n").unwrap();
        let failure = write_settings(&files, dir.path(), false).unwrap_err();
        assert_eq!(failure.kind, crate::model::Kind::Refused);
        assert_eq!(
            failure.causes,
            [dir.path().join("s3.env.example").display().to_string()]
        );
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "none was written");
        fs::remove_file(dir.path().join("s3.env.example")).unwrap();
        let done = write_settings(&files, dir.path(), false).unwrap();
        assert_eq!(
            states(&done),
            [State::Written, State::AlreadySo, State::Written, State::Written]
        );
        let again = write_settings(&files, dir.path(), false).unwrap();
        assert_eq!(states(&again), [State::AlreadySo; 4]);
        fs::remove_file(dir.path().join("s3_settings.py")).unwrap();
        std::os::unix::fs::symlink("gone", dir.path().join("s3_settings.py")).unwrap();
        assert!(write_settings(&files, dir.path(), false).is_err());
    }
}
