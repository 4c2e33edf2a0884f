//! The contract of a step, and `step_set!`. Steps themselves live in `steps/`.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::model::{Failure, Result};

/// One reversible change. Plain data: it is written into the journal, and read back by another process.
///
/// What each method may rely on:
///
/// - `prepare` ran to its end, and its receipt is on disk, before `apply` is called for the first time.
/// - `apply`, `verify` and `undo` may be called again, by another process, with the same receipt.
/// - `undo` is called for every step that was prepared, last first. When it runs, all later steps are undone.
///
/// Neither a step nor a receipt may hold a secret: both are written to disk in the clear.
pub trait Step: Serialize + DeserializeOwned + Clone + Debug + Send + Sync + 'static {
    /// What the step works on: the world, real or simulated.
    type Cx: Sync + ?Sized;
    /// What was recorded before anything changed; all that `undo` needs.
    type Receipt: Serialize + DeserializeOwned + Clone + Debug + Send + Sync;

    /// In words, for the plan, the progress and the journal: `stop web, api, db`.
    fn title(&self) -> String;

    /// Re-checks the plan's assumptions and captures the before-image. Read-only: nothing undoes it.
    fn prepare(&self, cx: &Self::Cx) -> impl Future<Output = Result<Self::Receipt>> + Send;

    /// Makes the change. Idempotent: recovery runs it again after a crash, from nothing, half or all done.
    fn apply(&self, cx: &Self::Cx, receipt: &Self::Receipt) -> impl Future<Output = Result<()>> + Send;

    /// Looks at the world, not at what `apply` returned. Says what was verified, in words.
    fn verify(
        &self,
        cx: &Self::Cx,
        receipt: &Self::Receipt,
    ) -> impl Future<Output = Result<Option<String>>> + Send;

    /// Restores what the receipt says, whether `apply` did nothing, half or all. Idempotent. `Ok` means that the world
    /// was seen to be as before: nothing looks again.
    fn undo(&self, cx: &Self::Cx, receipt: &Self::Receipt) -> impl Future<Output = Result<()>> + Send;

    /// Whether this program understands a receipt out of the journal. Asked before a run goes on, so that another
    /// version's journal is refused as a whole and not half way through.
    ///
    /// # Errors
    /// When the receipt was written by a version whose steps were different.
    fn understands(&self, receipt: &Self::Receipt) -> Result<()> {
        let _ = receipt;
        Ok(())
    }
}

/// Turns a receipt into what a journal keeps.
///
/// # Errors
/// When a value in it cannot be written, such as a path that is not UTF-8.
#[doc(hidden)]
pub fn encode_receipt<R: Serialize>(title: &str, receipt: &R) -> Result<Value> {
    serde_json::to_value(receipt).map_err(|e| {
        Failure::refused(format!("cannot write down what `{title}` would have to restore")).because(&e)
    })
}

/// Turns what a journal keeps back into a receipt.
///
/// # Errors
/// When it was written by another version, whose step recorded something else.
#[doc(hidden)]
pub fn decode_receipt<R: DeserializeOwned>(title: &str, receipt: &Value) -> Result<R> {
    R::deserialize(receipt).map_err(|e| {
        Failure::refused(format!("cannot read what `{title}` recorded"))
            .because(&e)
            .hint("use the version of rehome that began the run")
    })
}

/// Makes one [`Step`] out of several kinds of step that work on the same `Cx`, so that a plan is a list of one type.
///
/// ```
/// # mod steps {
/// # use rehome::{model::Result, saga::Step};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Debug, Clone, Serialize, Deserialize)]
/// # pub struct Note { pub text: String }
/// # impl Step for Note {
/// #     type Cx = ();
/// #     type Receipt = u32;
/// #     fn title(&self) -> String { self.text.clone() }
/// #     async fn prepare(&self, _: &()) -> Result<u32> { Ok(1) }
/// #     async fn apply(&self, _: &(), _: &u32) -> Result<()> { Ok(()) }
/// #     async fn verify(&self, _: &(), _: &u32) -> Result<Option<String>> { Ok(None) }
/// #     async fn undo(&self, _: &(), _: &u32) -> Result<()> { Ok(()) }
/// # }
/// # }
/// # use steps::Note;
/// use rehome::saga::{Step, step_set};
///
/// step_set! {
///     /// What a run of notes may do.
///     #[derive(Debug, Clone)]
///     pub enum AnyStep {
///         /// The first.
///         Begin(Note),
///         /// The last.
///         End(Note),
///     }
/// }
/// let step = AnyStep::Begin(Note { text: "hello".into() });
/// assert_eq!(step.title(), "hello");
/// assert_eq!(serde_json::to_string(&step).unwrap(), r#"{"begin":{"text":"hello"}}"#);
/// ```
#[macro_export]
macro_rules! step_set {
    (
        $(#[$meta:meta])* $vis:vis enum $name:ident {
            $(#[$first_meta:meta])* $first:ident($first_step:ty)
            $(, $(#[$more_meta:meta])* $more:ident($more_step:ty))* $(,)?
        }
    ) => {
        $crate::step_set! {
            @make [<$first_step as $crate::saga::Step>::Cx]
            $(#[$meta])* $vis enum $name {
                $(#[$first_meta])* $first($first_step),
                $($(#[$more_meta])* $more($more_step),)*
            }
        }
    };
    (
        @make [$cx:ty] $(#[$meta:meta])* $vis:vis enum $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident($step:ty),)+
        }
    ) => {
        $(#[$meta])*
        #[derive(::serde::Serialize, ::serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        $vis enum $name { $($(#[$variant_meta])* $variant($step),)+ }

        impl $crate::saga::Step for $name {
            type Cx = $cx;
            type Receipt = ::serde_json::Value;

            fn title(&self) -> ::std::string::String {
                match self { $(Self::$variant(step) => <$step as $crate::saga::Step>::title(step),)+ }
            }

            async fn prepare(&self, cx: &Self::Cx) -> $crate::model::Result<::serde_json::Value> {
                match self {
                    $(Self::$variant(step) => {
                        let receipt = <$step as $crate::saga::Step>::prepare(step, cx).await?;
                        $crate::saga::encode_receipt(&self.title(), &receipt)
                    })+
                }
            }

            async fn apply(&self, cx: &Self::Cx, receipt: &::serde_json::Value) -> $crate::model::Result<()> {
                match self {
                    $(Self::$variant(step) => {
                        let receipt = $crate::saga::decode_receipt(&self.title(), receipt)?;
                        <$step as $crate::saga::Step>::apply(step, cx, &receipt).await
                    })+
                }
            }

            async fn verify(
                &self,
                cx: &Self::Cx,
                receipt: &::serde_json::Value,
            ) -> $crate::model::Result<::std::option::Option<::std::string::String>> {
                match self {
                    $(Self::$variant(step) => {
                        let receipt = $crate::saga::decode_receipt(&self.title(), receipt)?;
                        <$step as $crate::saga::Step>::verify(step, cx, &receipt).await
                    })+
                }
            }

            async fn undo(&self, cx: &Self::Cx, receipt: &::serde_json::Value) -> $crate::model::Result<()> {
                match self {
                    $(Self::$variant(step) => {
                        let receipt = $crate::saga::decode_receipt(&self.title(), receipt)?;
                        <$step as $crate::saga::Step>::undo(step, cx, &receipt).await
                    })+
                }
            }

            fn understands(&self, receipt: &::serde_json::Value) -> $crate::model::Result<()> {
                match self {
                    $(Self::$variant(step) => {
                        let receipt = $crate::saga::decode_receipt(&self.title(), receipt)?;
                        <$step as $crate::saga::Step>::understands(step, &receipt)
                    })+
                }
            }
        }
    };
}
