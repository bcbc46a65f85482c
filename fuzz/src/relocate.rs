//! Moves among the verbs, while CPUs use pages through whatever they may still hold.

use crate::story::play;
use crate::support::mode::ForMode;
use pgtable::Config;

pub use crate::input::Story as Input;

/// Plays a story with CPUs that run whenever the crate calls its host, and cache what they may.
pub fn run(story: &Input) {
    crate::mode(story.mode).run(Hostile(story));
}

struct Hostile<'a>(&'a Input);

impl ForMode for Hostile<'_> {
    type Output = ();

    fn run<C: Config>(self) {
        play::<C::Arch>(self.0, true);
    }
}
