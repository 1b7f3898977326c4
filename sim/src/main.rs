//! `alluvium-sim [--from SEED] [--schedules N]` runs many schedules; `alluvium-sim --seed SEED` shows the events of one.
use std::process::ExitCode;

use alluvium_env::{Error, Result};
use alluvium_sim::{Report, simulate};

/// What the command line asks for.
struct Request {
    from: u64,
    schedules: u64,
    shows: bool,
}

fn main() -> ExitCode {
    match request().and_then(|request| run(&request)) {
        Ok(report) => {
            println!("{report:#?}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn request() -> Result<Request> {
    let mut request = Request { from: 0, schedules: 20_000, shows: false };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let wrong = || Error::invalid("write --from SEED, --schedules N or --seed SEED");
        let number = args.next().and_then(|number| number.parse().ok()).ok_or_else(wrong)?;
        match name.as_str() {
            "--from" => request.from = number,
            "--schedules" => request.schedules = number,
            "--seed" => request = Request { from: number, schedules: 1, shows: true },
            _ => return Err(wrong()),
        }
    }
    Ok(request)
}

fn run(request: &Request) -> Result<Report> {
    let mut sum = Report::default();
    for seed in request.from..request.from + request.schedules {
        sum += simulate(seed, request.shows).map_err(|error| replay(seed, error))?;
    }
    Ok(sum)
}

/// One line that shows the schedule again.
fn replay(seed: u64, error: Error) -> Error {
    error.context(format!("cargo run --release -p alluvium-sim -- --seed {seed}"))
}
