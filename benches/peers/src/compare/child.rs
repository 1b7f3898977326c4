//! One measurement as a process of its own.
use std::process::{Command, Stdio};

use alluvium_env::{Error, Result};
use serde_json::Value;

use super::CompareArgs;
use super::cases::Cell;

/// Runs it and returns its figures.
///
/// # Errors
/// `Unavailable` if it cannot be started; `Internal` with what it says if it fails.
pub(super) fn measure(args: &CompareArgs, cell: &Cell) -> Result<Value> {
    let line = command_line(args, cell)?;
    let Some((program, rest)) = line.split_first() else { return Err(Error::internal("no command")) };
    let failed = |e| Error::unavailable(format!("cannot start {program}; build it first")).with_source(e);
    let output = Command::new(program).args(rest).stderr(Stdio::piped()).output().map_err(failed)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
        return Err(Error::internal(format!("{}: {last}", output.status)));
    }
    let stdout = String::from_utf8_lossy(&output.stdout);
    let json = stdout.lines().last().unwrap_or_default();
    serde_json::from_str(json)
        .map_err(|e| Error::internal(format!("{program} printed no figures")).with_source(e))
}

fn command_line(args: &CompareArgs, cell: &Cell) -> Result<Vec<String>> {
    let folder = std::path::absolute(&args.folder)
        .map_err(|e| Error::invalid(format!("{} is no folder", args.folder.display())).with_source(e))?;
    let own =
        std::env::current_exe().map_err(|e| Error::internal("cannot find this program").with_source(e))?;
    let mut line: Vec<String> =
        args.through.iter().flat_map(|through| through.split_whitespace().map(str::to_owned)).collect();
    let Some((case, options)) = cell.args.split_first() else { return Err(Error::internal("no case")) };
    if cell.system == "alluvium" {
        let state = format!("file://{}/alluvium", folder.display());
        line.extend([args.alluvium.display().to_string(), "bench".to_owned(), case.clone()]);
        line.extend(["--json".to_owned(), "--state".to_owned(), state]);
    } else {
        line.extend([own.display().to_string(), "measure".to_owned(), case.clone(), cell.system.to_owned()]);
        line.extend(["--folder".to_owned(), folder.display().to_string()]);
    }
    line.extend(options.iter().cloned());
    Ok(line)
}
