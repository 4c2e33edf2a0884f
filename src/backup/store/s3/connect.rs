//! From settings to a client.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{
    BehaviorVersion, Credentials, ProvideCredentials as _, Region, RequestChecksumCalculation,
    ResponseChecksumValidation, SharedCredentialsProvider, SharedHttpClient, StalledStreamProtectionConfig,
};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore};
use aws_smithy_http_client::{Builder, Connector};

use super::{Limits, S3Settings};
use crate::model::{Failure, Result};

/// What is signed for where the storage has no regions.
const ANY_REGION: &str = "us-east-1";
/// Looking for keys may ask a server of the cloud.
const SEARCH: Duration = Duration::from_secs(30);

/// A client that retries within limits, and sends nothing that only AWS understands.
pub(super) async fn client(settings: &S3Settings, limits: &Limits) -> Result<Client> {
    let http = http(settings.endpoint.as_deref())?;
    let found = match &settings.keys {
        Some(keys) => {
            let token = keys.token.as_ref().map(|token| token.reveal().to_owned());
            let credentials = Credentials::new(&keys.id, keys.secret.reveal(), token, None, "rehome");
            Found {
                credentials: SharedCredentialsProvider::new(credentials),
                region: None,
                endpoint: None,
            }
        }
        None => search(settings, &http).await?,
    };
    let known = settings.region.clone().map(Region::new).or(found.region);
    let endpoint = settings.endpoint.clone().or(found.endpoint);
    let region = match (known, &endpoint) {
        (Some(region), _) => region,
        (None, Some(_)) => Region::from_static(ANY_REGION),
        (None, None) => {
            return Err(Failure::refused("nothing says in which region the bucket is")
                .hint("set AWS_S3_REGION_NAME, and AWS_S3_ENDPOINT_URL if it is not at AWS"));
        }
    };
    let mut config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .http_client(http)
        .credentials_provider(found.credentials)
        .region(region)
        // A bucket as a part of the host's name wants certificates and names that only large providers have.
        .force_path_style(endpoint.is_some())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .retry_config(RetryConfig::standard().with_max_attempts(limits.attempts))
        .timeout_config(limits.of(0))
        // Parts are handed over in one piece, which it takes for a stall; reading has a limit of its own.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    config.set_endpoint_url(endpoint);
    Ok(Client::from_conf(config.build()))
}

/// What AWS's own files and environment say.
struct Found {
    credentials: SharedCredentialsProvider,
    region: Option<Region>,
    endpoint: Option<String>,
}

/// Keys where AWS's own programs find them: the environment, profiles, the machine's role.
async fn search(settings: &S3Settings, http: &SharedHttpClient) -> Result<Found> {
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http.clone());
    if let Some(profile) = &settings.profile {
        loader = loader.profile_name(profile);
    }
    if let Some(region) = settings
        .region
        .clone()
        .or_else(|| settings.endpoint.as_ref().map(|_| ANY_REGION.to_owned()))
    {
        loader = loader.region(Region::new(region));
    }
    let none = || {
        Failure::refused("there are no keys for the S3 storage").hint(
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in .env or the environment, or AWS_PROFILE",
        )
    };
    let find = async {
        let found = loader.load().await;
        let provider = found.credentials_provider().ok_or_else(none)?;
        provider
            .provide_credentials()
            .await
            .map_err(|e| none().because(&e))?;
        Ok(Found {
            credentials: provider,
            region: found.region().cloned(),
            endpoint: found.endpoint_url().map(str::to_owned),
        })
    };
    match tokio::time::timeout(SEARCH, find).await {
        Ok(found) => found,
        Err(_) => Err(none().cause(format!("the search took longer than {} s", SEARCH.as_secs()))),
    }
}

/// HTTP and HTTPS, through the proxy that the environment names.
fn http(endpoint: Option<&str>) -> Result<SharedHttpClient> {
    // Without TLS the machine's authorities are not needed, and may be missing.
    let trusted = match endpoint.is_some_and(|address| address.starts_with("http://")) {
        true => TrustStore::empty(),
        false => TrustStore::default(),
    };
    let tls = TlsContext::builder()
        .with_trust_store(trusted)
        .build()
        .map_err(|e| Failure::environment("cannot use TLS").because(&e))?;
    Ok(
        Builder::new().build_with_connector_fn(move |settings, components| {
            let mut connector = Connector::builder()
                .proxy_config(ProxyConfig::from_env())
                .tls_provider(Provider::Rustls(CryptoMode::Ring))
                .tls_context(tls.clone());
            connector.set_connector_settings(settings.cloned());
            if let Some(sleep) = components.and_then(|all| all.sleep_impl()) {
                connector = connector.sleep_impl(sleep);
            }
            connector.build()
        }),
    )
}
