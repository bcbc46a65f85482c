//! Any verbs with any arguments and any failing allocation, against a model that has no tables.

use crate::story::play;
use crate::support::mode::ForMode;
use pgtable::Config;

pub use crate::input::Story as Input;

/// Plays a story with a CPU that caches nothing: all bits are known.
pub fn run(story: &Input) {
    crate::mode(story.mode).run(Exactly(story));
}

struct Exactly<'a>(&'a Input);

impl ForMode for Exactly<'_> {
    type Output = ();

    fn run<C: Config>(self) {
        play::<C::Arch>(self.0, false);
    }
}
