//! Uploads on S3, as others see them: what Django makes of the settings that Rehome writes for it, and what a linter of
//! IAM says of the policy.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod django;
mod policy;
mod support;
