//! Enums whose variants index an array of counters.

/// Defines a fieldless enum with the list of its variants, their numbers and their names.
macro_rules! counted {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Every variant, in the order of [`index`](Self::index). Later versions add more.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Position of this variant in [`ALL`](Self::ALL): where an array of counters has its count.
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }

            /// Name for counters and logs: lower case, words joined by `_`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(super) use counted;
