//! What S3 answers when it does not do what it was asked, in words.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::model::{Failure, Kind};

/// A server's own words are cut after this.
const SAID_LIMIT: usize = 300;

/// The code of what a storage answered.
pub fn code<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Option<&str> {
    error
        .as_service_error()
        .and_then(|answer| answer.meta().code())
        .or_else(|| {
            // Not all of them put it into words.
            match error.raw_response()?.status().as_u16() {
                404 => Some("NotFound"),
                412 => Some("PreconditionFailed"),
                _ => None,
            }
        })
}

/// What went wrong. Of the request nothing is told: it is signed.
pub fn told<E>(what: &str, error: &SdkError<E>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error {
        SdkError::ServiceError(answer) => {
            let meta = answer.err().meta();
            answered(what, meta.code(), meta.message(), answer.raw().status().as_u16())
        }
        SdkError::ResponseError(answer) => Failure::environment(what).cause(format!(
            "the storage answered {}, and it cannot be understood",
            answer.raw().status().as_u16()
        )),
        SdkError::TimeoutError(_) => Failure::environment(what)
            .cause("the storage did not answer in time")
            .hint("is the network slow, or the storage down? It was tried again several times"),
        SdkError::DispatchFailure(failure) => {
            let why = failure.as_connector_error().map(|e| innermost(e));
            let why = why.unwrap_or_else(|| "no connection".to_owned());
            let told = format!("the storage cannot be reached: {why}");
            // To ask again changes nothing about whom this machine trusts.
            match why.contains("certificate") {
                true => Failure::refused(what)
                    .cause(told)
                    .hint("if it is signed by an authority of your own: SSL_CERT_FILE=/path/to/ca.pem, also for its name"),
                false => Failure::environment(what)
                    .cause(told)
                    .hint("check AWS_S3_ENDPOINT_URL, the network and the name server"),
            }
        }
        other => Failure::environment(what).cause(innermost(other)),
    }
}

/// The end of an error's chain says what the system said; the rest is the client's own layers.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    cut(&last.to_string())
}

fn cut(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(SAID_LIMIT).collect()
}

fn answered(what: &str, code: Option<&str>, said: Option<&str>, status: u16) -> Failure {
    // A HEAD has no body to say more in.
    let code = code.unwrap_or(match status {
        403 => "AccessDenied",
        404 => "NotFound",
        _ => "",
    });
    let said = said.filter(|text| !text.trim().is_empty()).map(cut);
    // Garage has one code for all of them, and says in its own words which it is.
    let meant = match said.as_deref() {
        Some(said) if code == "AccessDenied" && said.contains("Invalid signature") => "SignatureDoesNotMatch",
        Some(said) if code == "AccessDenied" && said.contains("No such key:") => "InvalidAccessKeyId",
        _ => code,
    };
    let told = match (code, said) {
        ("", None) => format!("the storage answered {status}"),
        ("", Some(said)) => format!("the storage answered {status}: {said}"),
        (code, None) => format!("the storage answered {status} {}", cut(code)),
        (code, Some(said)) => format!("the storage answered {status} {}: {said}", cut(code)),
    };
    let failure = |kind, first: &str, hint: &str| {
        let failure = Failure::environment(what).with_kind(kind).cause(first);
        failure.cause(told.clone()).hint(hint)
    };
    let refused = |first: &str, hint: &str| failure(Kind::Refused, first, hint);
    match meant {
        "SignatureDoesNotMatch" => refused(
            "the secret key is wrong",
            "check AWS_SECRET_ACCESS_KEY, also for blanks and quotes around it",
        ),
        "InvalidAccessKeyId" | "InvalidClientTokenId" => refused(
            "the storage does not know this access key",
            "check AWS_ACCESS_KEY_ID, and that AWS_S3_ENDPOINT_URL leads to where the key is from",
        ),
        "ExpiredToken" | "TokenRefreshRequired" => refused("the keys have expired", "get new ones"),
        "AccessDenied" | "Forbidden" | "AllAccessDisabled" => refused(
            "these keys may not do that",
            "the keys need to list, read, write and delete below the prefix, and to abort uploads",
        ),
        "NoSuchBucket" => refused(
            "there is no such bucket",
            "make it first, or check its name and the region",
        ),
        "RequestTimeTooSkewed" | "RequestExpired" => refused(
            "this machine's clock and the storage's differ too much",
            "set the clock: timedatectl set-ntp true",
        ),
        "PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException" => {
            refused(
                "the bucket is in another region",
                "set AWS_S3_REGION_NAME to the bucket's region",
            )
        }
        "BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" => failure(
            Kind::Environment,
            "what arrived was not what was sent",
            "something on the way changes data; run again, and look for a proxy or bad memory",
        ),
        "QuotaExceeded" | "InsufficientCapacity" | "EntityTooLarge" | "XMinioStorageFull" => failure(
            Kind::Environment,
            "the storage has no room for it",
            "make room there; old backups go with: rehome backup prune",
        ),
        _ if status >= 500 || status == 429 => failure(
            Kind::Environment,
            "the storage is in trouble or busy",
            "it was tried again several times; run again later",
        ),
        _ => Failure::environment(what).cause(told),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_has_its_words() {
        let first = |code, status| answered("cannot write x", code, Some("said"), status).causes[0].clone();
        assert_eq!(
            first(Some("SignatureDoesNotMatch"), 403),
            "the secret key is wrong"
        );
        assert_eq!(first(Some("NoSuchBucket"), 404), "there is no such bucket");
        assert_eq!(first(None, 403), "these keys may not do that");
        // As Garage says it.
        for (said, wanted) in [
            ("Forbidden: Invalid signature", "the secret key is wrong"),
            (
                "Forbidden: No such key: GK1",
                "the storage does not know this access key",
            ),
            (
                "Forbidden: Operation is not allowed",
                "these keys may not do that",
            ),
        ] {
            let failure = answered("x", Some("AccessDenied"), Some(said), 403);
            assert_eq!(failure.causes[0], wanted);
            assert_eq!(
                failure.causes[1],
                format!("the storage answered 403 AccessDenied: {said}")
            );
        }
        assert_eq!(first(Some("SlowDown"), 503), "the storage is in trouble or busy");
        assert_eq!(
            first(Some("RequestTimeTooSkewed"), 403),
            "this machine's clock and the storage's differ too much"
        );
        assert_eq!(
            first(Some("Strange\n"), 400),
            "the storage answered 400 Strange : said"
        );
        assert_eq!(
            answered("x", None, Some(&"a".repeat(9000)), 400).causes[0].len(),
            300 + 26
        );
    }
}
