//! The button: a line of a GPIO chip, held down while the machine starts.

use std::thread;
use std::time::Duration;

use gpiocdev::Request;
use gpiocdev::line::{Bias, Value};

use super::conf::ResetLine;

/// How long the button has to be held: nobody does that by leaning on it.
const HOLD: Duration = Duration::from_secs(5);

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Whether the button is down now and stays so for 5 seconds. Costs no time if it is not down.
pub(super) fn is_held(line: &ResetLine) -> gpiocdev::Result<bool> {
    let mut builder = Request::builder();
    builder.on_chip(&line.chip).with_line(line.line).as_input();
    if line.is_active_low {
        builder.as_active_low().with_bias(Bias::PullUp);
    }
    let request = builder.with_consumer("fieldgate").request()?;
    is_held_by(
        || Ok(request.value(line.line)? == Value::Active),
        || thread::park_timeout(PAUSE),
    )
}

fn is_held_by<E>(
    mut is_down: impl FnMut() -> Result<bool, E>,
    mut pause: impl FnMut(),
) -> Result<bool, E> {
    let mut left = HOLD;
    while is_down()? {
        if left.is_zero() {
            return Ok(true);
        }
        pause();
        left = left.saturating_sub(PAUSE);
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn held(for_millis: u64) -> (bool, u64) {
        let passed = Cell::new(0);
        let held = is_held_by(
            || Ok::<_, ()>(passed.get() < for_millis),
            || passed.set(passed.get() + 100),
        );
        (held.unwrap(), passed.get())
    }

    #[test]
    fn only_a_button_that_is_held_counts() {
        assert_eq!(held(0), (false, 0));
        assert_eq!(held(4_900), (false, 4_900));
        assert_eq!(held(60_000), (true, 5_000));
    }
}
