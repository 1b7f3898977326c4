//! Options that say when checkpoints are taken, and how many are kept.
use std::time::Duration;

use alluvium_checkpoint::CheckpointSettings;
use clap::Args;

use crate::units::Interval;

/// When and how many.
#[derive(Args, Clone, Debug)]
pub(crate) struct CheckpointArgs {
    /// How often to take a checkpoint: a duration, or off
    #[arg(long, value_name = "DUR|off", default_value = "1s", help_heading = "Checkpoints")]
    pub(crate) checkpoint_interval: Interval,

    /// The least time from the end of one checkpoint to the start of the next, or off
    #[arg(long, value_name = "DUR|off", default_value = "off", help_heading = "Checkpoints")]
    pub(crate) checkpoint_pause: Interval,

    /// Give a checkpoint up after this time
    #[arg(long, value_name = "DUR", value_parser = duration, help_heading = "Checkpoints", default_value = "10m")]
    pub(crate) checkpoint_timeout: Duration,

    /// How many checkpoints may be under way at a time
    #[arg(long, value_name = "N", default_value_t = CheckpointSettings::CONCURRENT as u16, value_parser = clap::value_parser!(u16).range(1..=100), help_heading = "Checkpoints")]
    pub(crate) checkpoints_at_once: u16,

    /// How many complete checkpoints to keep
    #[arg(long, value_name = "N", default_value_t = CheckpointSettings::RETAINED as u16, value_parser = clap::value_parser!(u16).range(1..=10_000), help_heading = "Checkpoints")]
    pub(crate) checkpoints_kept: u16,

    /// How many checkpoints in a row may fail before the job does
    #[arg(long, value_name = "N", default_value_t = CheckpointSettings::TOLERATED_FAILURES, help_heading = "Checkpoints")]
    pub(crate) checkpoint_failures: u32,
}

fn duration(text: &str) -> Result<Duration, String> {
    let Interval(duration) = text.parse()?;
    duration.ok_or_else(|| "write a duration, like 30s or 10m".to_owned())
}

impl CheckpointArgs {
    /// As a job takes them; what contradicts is found when the job's settings are checked.
    pub(crate) fn settings(&self) -> CheckpointSettings {
        CheckpointSettings {
            interval: self.checkpoint_interval.0,
            min_pause: self.checkpoint_pause.0.unwrap_or_default(),
            concurrent: usize::from(self.checkpoints_at_once),
            timeout: self.checkpoint_timeout,
            retained: usize::from(self.checkpoints_kept),
            tolerated_failures: self.checkpoint_failures,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        checkpoints: CheckpointArgs,
    }

    fn settings(args: &[&str]) -> CheckpointSettings {
        let args = std::iter::once("x").chain(args.iter().copied());
        Command::try_parse_from(args).unwrap().checkpoints.settings()
    }

    #[test]
    fn nothing_said_is_the_default_and_all_that_is_said_is_taken() {
        assert_eq!(settings(&[]), CheckpointSettings::default());
        let said = "--checkpoint-interval off --checkpoint-pause 2s --checkpoint-timeout 30s --checkpoints-at-once 3 \
                    --checkpoints-kept 5 --checkpoint-failures 0";
        let wanted = CheckpointSettings {
            interval: None,
            min_pause: Duration::from_secs(2),
            concurrent: 3,
            timeout: Duration::from_secs(30),
            retained: 5,
            tolerated_failures: 0,
        };
        assert_eq!(settings(&said.split_whitespace().collect::<Vec<_>>()), wanted);
        assert!(Command::try_parse_from(["x", "--checkpoint-timeout", "off"]).is_err());
    }
}
