//! The runner of gungraun's benches, in the version of this package's lock file: nothing has to be installed.
fn main() {
    if let Err(error) = gungraun_runner::runner::run::run() {
        eprintln!("gungraun-runner: {error:?}");
        std::process::exit(1);
    }
}
