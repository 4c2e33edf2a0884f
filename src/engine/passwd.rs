//! The numeric user that a container runs as.

use std::io::Read;

use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
use futures_util::StreamExt;

use super::{Container, Engine, failed, is_missing};
use crate::model::{Failure, Owner, Result};

/// `/etc/passwd` is not read beyond this.
const LIMIT: usize = 1 << 20;

impl Engine {
    /// The numeric user and group of a container's configured user. Names are looked up in the container's own
    /// `/etc/passwd`, read through the API: it works without a shell, also on a stopped container.
    ///
    /// # Errors
    /// When the user is a name that the container does not know.
    pub async fn numeric_user(&self, container: &Container) -> Result<Owner> {
        let (user, group) = match container.user.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (container.user.as_str(), None),
        };
        if user.is_empty() {
            return Ok(Owner { uid: 0, gid: 0 });
        }
        let passwd = self.small_file(container, "/etc/passwd").await?;
        let entry = find_user(&passwd, user);
        let uid = user.parse().ok().or(entry.map(|o| o.uid));
        let gid = match group {
            None => Some(entry.map_or(0, |o| o.gid)),
            Some(group) => match group.parse() {
                Ok(gid) => Some(gid),
                Err(_) => find_group(&self.small_file(container, "/etc/group").await?, group),
            },
        };
        match (uid, gid) {
            (Some(uid), Some(gid)) => Ok(Owner { uid, gid }),
            _ => Err(Failure::environment(format!(
                "container {} runs as {:?}, which its /etc/passwd does not know",
                container.name, container.user
            ))),
        }
    }

    async fn small_file(&self, container: &Container, path: &str) -> Result<String> {
        let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
        let mut stream = self
            .docker
            .download_from_container(container.id.as_str(), Some(options));
        let mut archive = Vec::new();
        while let Some(chunk) = stream.next().await {
            match chunk {
                Ok(bytes) => archive.extend_from_slice(&bytes),
                Err(error) if is_missing(&error) => return Ok(String::new()),
                Err(error) => return Err(failed(format!("cannot read {path} of {}", container.name))(error)),
            }
            if archive.len() > LIMIT {
                return Err(Failure::environment(format!(
                    "{path} of {} is larger than 1 MiB",
                    container.name
                )));
            }
        }
        let unreadable = |error: std::io::Error| {
            Failure::environment(format!("cannot read {path} of {}", container.name)).because(&error)
        };
        let mut text = Vec::new();
        for entry in tar::Archive::new(archive.as_slice())
            .entries()
            .map_err(unreadable)?
        {
            entry
                .map_err(unreadable)?
                .read_to_end(&mut text)
                .map_err(unreadable)?;
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

fn find_user(passwd: &str, user: &str) -> Option<Owner> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        (name == user || uid == user).then_some(())?;
        Some(Owner {
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
        })
    })
}

fn find_group(groups: &str, group: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        (name == group).then(|| gid.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\npostgres:x:70:71::/var/lib/postgresql:/bin/sh\n";
        assert_eq!(find_user(passwd, "postgres"), Some(Owner { uid: 70, gid: 71 }));
        assert_eq!(find_user(passwd, "70"), Some(Owner { uid: 70, gid: 71 }));
        assert_eq!(find_user(passwd, "nobody"), None);
        assert_eq!(find_group("root:x:0:\nwww-data:x:33:\n", "www-data"), Some(33));
    }
}
