//! The command line.
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::events::Stream;
use crate::query::NAMES;
use crate::units::{ByteSize, Count, Delay, Interval};

/// The command.
#[derive(Parser)]
#[command(about = "Times Nexmark's queries on Alluvium's host", args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) compare: CompareArgs,
    #[command(subcommand)]
    pub(crate) step: Option<Step>,
}

/// What a run starts as processes of their own.
#[derive(Subcommand)]
pub(crate) enum Step {
    /// Runs one query on one backend and prints its figures as JSON
    #[command(hide = true)]
    Measure(MeasureArgs),
    /// Computes the answer of one query in plain memory and prints its digest as JSON
    #[command(hide = true)]
    Expect(MeasureArgs),
}

/// Options of a run.
#[derive(Args, Clone, Debug)]
pub(crate) struct CompareArgs {
    /// The queries; all if none is named
    #[arg(value_name = "QUERY", value_parser = PossibleValuesParser::new(NAMES))]
    queries: Vec<String>,

    /// Only these: none reads the source and keeps no state, heap keeps it in an ordered map, resident has --resident-memory,
    /// forst has --memory
    #[arg(long, value_name = "NAME", value_enum, value_delimiter = ',')]
    backend: Vec<Place>,

    #[command(flatten)]
    pub(crate) job: JobArgs,

    /// How often each measurement is made, A B A B; the median is shown
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,

    /// Append every measurement's JSON to this file, a line each
    #[arg(long, value_name = "FILE")]
    pub(crate) results: Option<PathBuf>,
}

/// Options of a measurement.
#[derive(Args, Clone, Debug)]
pub(crate) struct JobArgs {
    /// Events: one in fifty is a person, three are auctions, the others bids
    #[arg(long, value_name = "N", default_value = "10M")]
    pub(crate) events: Count,

    /// Events in a second of event time, so what a window holds; they are read as fast as can be
    #[arg(long, value_name = "N", default_value = "10k")]
    pub(crate) rate: Count,

    /// Keyed subtasks; half as many source threads
    #[arg(long, value_name = "P", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=128))]
    pub(crate) parallelism: u16,

    /// All memory of a process whose state does not fit
    #[arg(long, value_name = "SIZE", default_value = "64MiB")]
    pub(crate) memory: ByteSize,

    /// All memory of a process whose state fits
    #[arg(long, value_name = "SIZE", default_value = "4GiB")]
    pub(crate) resident_memory: ByteSize,

    /// Where state is that does not fit, and where it is flushed to
    #[arg(long, value_name = "URL")]
    pub(crate) state: Option<String>,

    /// A round trip to there
    #[arg(long, value_name = "DUR")]
    pub(crate) latency: Option<Delay>,

    /// How often to take a checkpoint, or off
    #[arg(long, value_name = "DUR", default_value = "off")]
    pub(crate) checkpoint_interval: Interval,
}

/// Options of a step.
#[derive(Args, Clone, Debug)]
pub(crate) struct MeasureArgs {
    pub(crate) query: String,
    #[arg(value_enum)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) job: JobArgs,
}

impl MeasureArgs {
    /// A round trip to the state; what fits is near.
    pub(crate) fn latency(&self) -> Duration {
        let away = self.job.latency.filter(|_| self.place == Place::Forst);
        away.map_or(Duration::ZERO, |delay| delay.0)
    }
}

/// Where state is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Place {
    /// Nowhere: the source and the exchange alone
    None,
    /// In an ordered map
    Heap,
    /// In a store whose memory holds it
    Resident,
    /// In a store whose memory does not hold it
    Forst,
}

/// Events of a split: a tenth of a second's worth of reading, so that splits that are read side by side are near each other.
const SPLIT_EVENTS: u64 = 20_000;

impl CompareArgs {
    pub(crate) fn queries(&self) -> Vec<&str> {
        if self.queries.is_empty() {
            NAMES.to_vec()
        } else {
            self.queries.iter().map(String::as_str).collect()
        }
    }

    pub(crate) fn places(&self) -> Vec<Place> {
        let all = [Place::None, Place::Heap, Place::Resident, Place::Forst];
        if self.backend.is_empty() { all.to_vec() } else { self.backend.clone() }
    }
}

impl JobArgs {
    pub(crate) fn stream(&self) -> Stream {
        Stream { events: self.events.0, rate: self.rate.0, split_events: SPLIT_EVENTS }
    }

    /// As a step takes them.
    pub(crate) fn line(&self) -> Vec<String> {
        let mut line = vec![
            format!("--events={}", self.events.0),
            format!("--rate={}", self.rate.0),
            format!("--parallelism={}", self.parallelism),
            format!("--memory={}", self.memory.0),
            format!("--resident-memory={}", self.resident_memory.0),
        ];
        line.extend(self.state.iter().map(|url| format!("--state={url}")));
        line.extend(self.latency.iter().map(|delay| format!("--latency={}us", delay.0.as_micros())));
        let interval = self.checkpoint_interval.0;
        line.extend(interval.iter().map(|each| format!("--checkpoint-interval={}ms", each.as_millis())));
        line
    }
}

impl Place {
    /// What its row is called.
    pub(crate) fn label(self, args: &CompareArgs) -> String {
        let job = &args.job;
        match self {
            Self::None => "without state".to_owned(),
            Self::Heap => "heap".to_owned(),
            Self::Resident => format!("forst {}", job.resident_memory),
            Self::Forst => {
                let away = job.latency.map(|delay| format!(", {:?} away", delay.0));
                format!("forst {}{}", job.memory, away.unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_gets_the_options_of_its_run() {
        let run = "nexmark q5 q11 --events 1M --rate 5k --parallelism 3 --memory 96MiB --state file:///s --latency 1.5ms \
                   --checkpoint-interval 1s --backend heap,forst";
        let run = Cli::try_parse_from(run.split_whitespace()).unwrap().compare;
        assert_eq!(run.queries(), ["q5", "q11"]);
        assert_eq!(run.places(), [Place::Heap, Place::Forst]);
        let line = ["nexmark", "measure", "q5", "forst"].map(str::to_owned).into_iter().chain(run.job.line());
        let Some(Step::Measure(step)) = Cli::try_parse_from(line).unwrap().step else { panic!("no step") };
        assert_eq!(step.job.line(), run.job.line());
        assert_eq!((step.query.as_str(), step.place), ("q5", Place::Forst));
        assert!(Cli::try_parse_from(["nexmark", "q6"]).is_err());
    }
}
