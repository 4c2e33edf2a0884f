//! Has the application itself store something: a file is saved, read back through its storage, fetched by the address that it
//! gives out, and deleted. That the environment says so is no proof that the application does so (trap 32).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::engine::{Container, Exec};
use crate::model::{Failure, Result, ServiceName};
use crate::saga::Step;
use crate::steps::Cx;

/// A framework needs its time to come up.
const LIMIT: Duration = Duration::from_secs(120);
/// What the answer begins with, among whatever else is printed.
const MARK: &str = "REHOME-STORAGE ";
/// Django's own way: <https://docs.djangoproject.com/en/stable/ref/files/storage/>. Closed and deleted whatever happens.
const DJANGO: &str = r#"
import json, os, urllib.request
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage as storage
body = os.urandom(4096)
name = storage.save('rehome-check/' + os.urandom(8).hex(), ContentFile(body))
try:
    with storage.open(name) as saved:
        same = saved.read() == body
    url, status = storage.url(name), None
    if url.startswith('http'):
        with urllib.request.urlopen(url, timeout=30) as answer:
            status = answer.status if answer.read() == body else 0
finally:
    storage.delete(name)
kind = type(getattr(storage, '_wrapped', storage))
print('REHOME-STORAGE ' + json.dumps({
    'class': kind.__name__, 'bases': [base.__name__ for base in kind.__mro__],
    'bucket': getattr(storage, 'bucket_name', None), 'location': str(getattr(storage, 'location', '')),
    'same': same, 'status': status, 'gone': not storage.exists(name)}))
"#;

/// Where the application is to store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Storing {
    /// In this bucket, below this prefix.
    Bucket {
        /// The bucket.
        name: String,
        /// Without the last `/`.
        location: String,
    },
    /// On a file system.
    Files,
}

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AskApp {
    /// A service made with Django.
    pub service: ServiceName,
    /// Where it is to store.
    pub storing: Storing,
}

#[derive(Debug, Deserialize)]
struct Said {
    class: String,
    bases: Vec<String>,
    bucket: Option<String>,
    location: String,
    same: bool,
    status: Option<u16>,
    gone: bool,
}

impl Step for AskApp {
    type Cx = Cx;
    type Receipt = ();

    fn title(&self) -> String {
        format!("have {} store a file, read it back and delete it", self.service)
    }

    async fn prepare(&self, _: &Cx) -> Result<()> {
        Ok(())
    }

    async fn apply(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }

    async fn verify(&self, cx: &Cx, (): &()) -> Result<Option<String>> {
        let mut said = Vec::new();
        for container in cx.all_running(&self.service).await? {
            said.push(self.asked(cx, &container).await?);
        }
        said.dedup();
        Ok(Some(said.join("; ")))
    }

    async fn undo(&self, _: &Cx, (): &()) -> Result<()> {
        Ok(())
    }
}

impl AskApp {
    async fn asked(&self, cx: &Cx, container: &Container) -> Result<String> {
        let command = ["python3", "manage.py", "shell", "-c", DJANGO].map(str::to_owned);
        let exec = Exec {
            command: &command,
            user: None,
            dir: Some(&container.working_dir)
                .filter(|dir| !dir.is_empty())
                .map(String::as_str),
            env: Vec::new(),
        };
        let output = cx.engine.exec_as(&container.id, exec, LIMIT, &mut |_| {}).await?;
        let failed = |why: String| {
            Failure::environment(format!("service `{}` does not store as it should", self.service)).cause(why)
        };
        if output.code != 0 {
            let last = output
                .stderr
                .lines()
                .rfind(|line| !line.trim().is_empty())
                .unwrap_or_default();
            return Err(failed(format!("its own storage failed: {last}")));
        }
        let line = output.stdout.lines().find_map(|line| line.strip_prefix(MARK));
        let said: Said = line
            .and_then(|line| serde_json::from_str(line).ok())
            .ok_or_else(|| failed("what it said of its storage is not understood".to_owned()))?;
        self.judge(&said).map_err(failed)
    }

    fn judge(&self, said: &Said) -> Result<String, String> {
        if !said.same {
            return Err("a file that was stored was read back with another content".to_owned());
        }
        if !said.gone {
            return Err("a file that was deleted is still there".to_owned());
        }
        match &self.storing {
            Storing::Files if said.bucket.is_some() => {
                Err(format!("{} still stores in a bucket", said.class))
            }
            Storing::Files => Ok(format!("{} stores files with {}", self.service, said.class)),
            Storing::Bucket { name, location } => {
                if said.bucket.as_deref() != Some(name) {
                    let where_to = said.bucket.clone().unwrap_or_else(|| "a file system".to_owned());
                    return Err(format!(
                        "{} stores in {where_to}, not in bucket {name}",
                        said.class
                    ));
                }
                if said.location.trim_matches('/') != location {
                    return Err(format!(
                        "{} stores below {:?}, and the files were sent below {location:?}: the `location` of the storage class and `s3.prefix` must be the same",
                        said.class, said.location
                    ));
                }
                match said.status {
                    Some(200) => Ok(format!(
                        "{} stores in {name} with {}: saved, read back, its signed address answers 200, deleted",
                        self.service, said.class
                    )),
                    Some(0) => Err("its address answers with another content".to_owned()),
                    Some(status) => Err(format!("its address answers {status}")),
                    None => Err(format!(
                        "the address that it gives out is none of the bucket ({})",
                        said.bases.join(", ")
                    )),
                }
            }
        }
    }
}
