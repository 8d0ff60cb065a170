//! Whether a group breaks a rule on purpose, asked where the rule is kept.
//!
//! Without the feature `mutations` every question answers no, and the compiler removes it.

/// Gives `Options` of the module a method per mutation: whether it is the one to make.
macro_rules! questions {
    ($($question:ident asks $mutation:ident;)*) => {
        impl Options {$(
            pub(super) const fn $question(&self) -> bool {
                #[cfg(any(test, feature = "mutations"))]
                return matches!(self.mutation, Some(Mutation::$mutation));
                #[cfg(not(any(test, feature = "mutations")))]
                return false;
            }
        )*}
    };
}

pub(crate) use questions;
