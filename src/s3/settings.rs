//! How S3-compatible storage is reached: from the names that projects already have in their `.env`, then from the
//! environment and the profiles that every program of AWS reads.

use crate::model::{Failure, Result, Secret};

/// What is known about the storage of a project. What is `None` is left to the profiles of AWS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct S3Settings {
    /// Where it answers, `https://fra1.digitaloceanspaces.com`; AWS itself without one.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// Who asks.
    pub keys: Option<S3Keys>,
    /// The profile of AWS's own files.
    pub profile: Option<String>,
}

/// A pair of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Keys {
    /// The public half.
    pub id: String,
    /// The secret half.
    pub secret: Secret,
    /// What belongs to keys that are valid for a while only.
    pub token: Option<Secret>,
}

impl S3Settings {
    /// Whether nothing on the way there is encrypted, so that no certificate is looked at.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.endpoint
            .as_deref()
            .is_some_and(|address| address.starts_with("http://"))
    }

    /// Whether it answers at an address that only this machine has.
    #[must_use]
    pub fn is_of_this_machine(&self) -> bool {
        self.endpoint.as_deref().is_some_and(is_this_machine)
    }

    /// Where it answers, AWS included.
    pub(super) fn address(&self) -> String {
        let of_aws = || {
            let region = self.region.as_deref().unwrap_or("us-east-1");
            let end = if region.starts_with("cn-") { ".cn" } else { "" };
            format!("https://s3.{region}.amazonaws.com{end}")
        };
        self.endpoint.clone().unwrap_or_else(of_aws)
    }

    /// From the variables of a project. `names` looks one up in its `.env`, then in the environment.
    ///
    /// # Errors
    /// When they contradict each other.
    pub fn from_names(bucket: &str, names: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let first = |wanted: &[&str]| {
            let found = wanted.iter().filter_map(|name| names(name));
            found
                .map(|value| value.trim().to_owned())
                .find(|value| !value.is_empty())
        };
        let yes = |name: &str| {
            let value = first(&[name]).unwrap_or_default().to_ascii_lowercase();
            matches!(value.as_str(), "1" | "true" | "yes" | "on")
        };
        let region = first(&["AWS_S3_REGION_NAME", "AWS_REGION", "AWS_DEFAULT_REGION"]);
        let mut endpoint = first(&["AWS_S3_ENDPOINT_URL"]);
        if yes("USE_MINIO") {
            let minio =
                first(&["MINIO_ENDPOINT_URL"]).map(|address| with_scheme(&address, yes("MINIO_USE_SSL")));
            endpoint = minio.or(endpoint);
        }
        let endpoint = endpoint.or_else(|| first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]));
        let endpoint = match (endpoint, yes("USE_DO_SPACES"), &region) {
            (None, true, Some(region)) => Some(format!("https://{region}.digitaloceanspaces.com")),
            (None, true, None) => {
                return Err(
                    Failure::usage("USE_DO_SPACES is set, and nothing says which Spaces")
                        .hint("set AWS_S3_ENDPOINT_URL, or AWS_S3_REGION_NAME, as in fra1"),
                );
            }
            (endpoint, _, _) => endpoint,
        };
        Ok(Self {
            endpoint: endpoint.map(|text| checked(bucket, &text)).transpose()?,
            region,
            keys: keys(&first)?,
            profile: first(&["AWS_PROFILE"]),
        })
    }
}

/// The host of an address, without a user's name before it and a port behind it.
pub(super) fn host_of(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("://")?;
    let place = rest.split('/').next()?;
    let place = place.rsplit('@').next()?;
    let host = match place.strip_prefix('[') {
        Some(host) => host.split(']').next()?,
        None => place.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

/// Whether an address is one that only this machine has.
pub(super) fn is_this_machine(address: &str) -> bool {
    let Some(host) = host_of(address) else {
        return false;
    };
    let address: Option<std::net::IpAddr> = host.parse().ok();
    host == "localhost"
        || host.ends_with(".localhost")
        || address.is_some_and(|address| address.is_loopback())
}

fn keys(first: &dyn Fn(&[&str]) -> Option<String>) -> Result<Option<S3Keys>> {
    match (first(&["AWS_ACCESS_KEY_ID"]), first(&["AWS_SECRET_ACCESS_KEY"])) {
        (None, None) => Ok(None),
        (Some(id), Some(secret)) => Ok(Some(S3Keys {
            id,
            secret: Secret::new(secret),
            token: first(&["AWS_SESSION_TOKEN"]).map(Secret::new),
        })),
        (Some(_), None) => Err(Failure::usage(
            "AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not",
        )),
        (None, Some(_)) => Err(Failure::usage(
            "AWS_SECRET_ACCESS_KEY is set, and AWS_ACCESS_KEY_ID is not",
        )),
    }
}

fn with_scheme(address: &str, tls: bool) -> String {
    match (address.contains("://"), tls) {
        (true, _) => address.to_owned(),
        (false, true) => format!("https://{address}"),
        (false, false) => format!("http://{address}"),
    }
}

/// An address without the bucket, which some write in front of it although it is named elsewhere.
fn checked(bucket: &str, text: &str) -> Result<String> {
    let cannot = |why: &str| {
        Failure::usage("the address of the S3 storage cannot be understood")
            .cause(why)
            .hint("as in AWS_S3_ENDPOINT_URL=https://fra1.digitaloceanspaces.com")
    };
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| cannot("it begins with neither https:// nor http://"))?;
    if !matches!(scheme, "http" | "https") {
        return Err(cannot("it begins with neither https:// nor http://"));
    }
    let rest = rest.trim_end_matches('/');
    let host = rest.split('/').next().unwrap_or_default();
    // Not shown: it would be a password.
    if host.contains('@') {
        return Err(cannot(
            "it has a user in it; keys are given as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ));
    }
    if host.is_empty() || !rest.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(cannot("there is no host in it"));
    }
    let bare = rest
        .strip_prefix(bucket)
        .and_then(|rest| rest.strip_prefix('.'))
        .unwrap_or(rest);
    Ok(format!("{scheme}://{bare}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Result<S3Settings> {
        let look = |name: &str| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        S3Settings::from_names("media", &look)
    }

    #[test]
    fn the_names_of_projects_are_known() {
        let spaces = from(&[
            ("USE_S3", "1"),
            ("USE_DO_SPACES", "True"),
            ("AWS_S3_REGION_NAME", "fra1"),
            ("AWS_ACCESS_KEY_ID", "me"),
            ("AWS_SECRET_ACCESS_KEY", " hunter2 "),
        ])
        .unwrap();
        assert_eq!(
            spaces.endpoint.as_deref(),
            Some("https://fra1.digitaloceanspaces.com")
        );
        let keys = spaces.keys.clone().unwrap();
        assert_eq!((keys.id.as_str(), keys.secret.reveal()), ("me", "hunter2"));
        assert!(!format!("{spaces:?}").contains("hunter2"));

        let minio = [
            ("USE_MINIO", "1"),
            ("MINIO_ENDPOINT_URL", "minio:9000"),
            ("AWS_S3_ENDPOINT_URL", "https://other"),
        ];
        assert_eq!(
            from(&minio).unwrap().endpoint.as_deref(),
            Some("http://minio:9000")
        );
        let tls = [
            ("USE_MINIO", "1"),
            ("MINIO_ENDPOINT_URL", "minio:9000"),
            ("MINIO_USE_SSL", "1"),
        ];
        assert_eq!(
            from(&tls).unwrap().endpoint.as_deref(),
            Some("https://minio:9000")
        );
        let off = [("USE_MINIO", "0"), ("MINIO_ENDPOINT_URL", "minio:9000")];
        assert_eq!(from(&off).unwrap().endpoint, None);

        let twice = from(&[(
            "AWS_S3_ENDPOINT_URL",
            "https://media.fra1.digitaloceanspaces.com/",
        )])
        .unwrap();
        assert_eq!(
            twice.endpoint.as_deref(),
            Some("https://fra1.digitaloceanspaces.com")
        );
        assert_eq!(
            from(&[("AWS_REGION", "eu-west-1"), ("AWS_PROFILE", "")]).unwrap(),
            S3Settings {
                region: Some("eu-west-1".into()),
                ..S3Settings::default()
            }
        );
    }

    #[test]
    fn addresses_of_the_machine_itself_are_known() {
        let of = |address: &str| {
            from(&[("AWS_S3_ENDPOINT_URL", address)])
                .unwrap()
                .is_of_this_machine()
        };
        for here in [
            "http://127.0.0.1:9000",
            "http://localhost",
            "https://[::1]:9000",
            "http://s3.localhost:1",
        ] {
            assert!(of(here), "{here}");
        }
        for there in [
            "http://minio:9000",
            "https://fra1.digitaloceanspaces.com",
            "http://172.17.0.1:9900",
            "http://[fd00::1]",
        ] {
            assert!(!of(there), "{there}");
        }
        assert!(!from(&[("AWS_REGION", "eu-west-1")]).unwrap().is_of_this_machine());
    }

    #[test]
    fn contradictions_are_told_without_a_secret() {
        for bad in [
            &[("AWS_ACCESS_KEY_ID", "me")][..],
            &[("AWS_SECRET_ACCESS_KEY", "hunter2")],
            &[("USE_DO_SPACES", "1")],
            &[("AWS_S3_ENDPOINT_URL", "fra1.digitaloceanspaces.com")],
            &[("AWS_S3_ENDPOINT_URL", "https://me:hunter2@host")],
            &[("AWS_S3_ENDPOINT_URL", "https://")],
        ] {
            let failure = from(bad).unwrap_err();
            assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
        }
    }
}
