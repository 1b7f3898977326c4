//! One measurement as a process of its own.
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};

use alluvium_env::{Error, Result};
use serde_json::Value;

use super::cases::Cell;
use super::server::Server;
use super::{CompareArgs, Far};
use crate::s3;

/// About what a measurement in memory takes.
const TOUCHED_BYTES: usize = 1 << 30;

/// Takes that much memory and writes to all of it.
pub(crate) fn touch() {
    black_box(vec![1_u8; TOUCHED_BYTES]);
}

/// Has another process touch memory before the measured one does. The host of a virtual machine takes back within seconds what is
/// free, and whoever touches it first waits for it, fifty times as long as for memory that is there: the first system after a pause
/// would pay for those that follow.
///
/// # Errors
/// `Unavailable` if this program cannot be started, or finds no such memory.
fn have_memory_touched(own: &Path) -> Result<()> {
    let touched = Command::new(own).arg("touch").status();
    let touched = touched.map_err(|e| Error::unavailable("cannot start this program again").with_source(e))?;
    if touched.success() {
        return Ok(());
    }
    Err(Error::unavailable(format!("{TOUCHED_BYTES} bytes of memory cannot be touched ({touched}): free some")))
}

/// Runs it and returns its figures.
///
/// # Errors
/// `Unavailable` if it cannot be started; `Internal` with what it says if it fails.
pub(super) fn measure(args: &CompareArgs, cell: &Cell) -> Result<Value> {
    let server = cell.far.filter(|_| args.far == Far::S3).map(Server::start).transpose()?;
    let own =
        std::env::current_exe().map_err(|e| Error::internal("cannot find this program").with_source(e))?;
    have_memory_touched(&own)?;
    let line = command_line((args, &own), cell, server.as_ref())?;
    let Some((program, rest)) = line.split_first() else { return Err(Error::internal("no command")) };
    let failed = |e| Error::unavailable(format!("cannot start {program}; build it first")).with_source(e);
    let mut command = Command::new(program);
    if let Some(server) = &server {
        command.envs(s3::environment(&server.address));
    }
    let output = command.args(rest).stderr(Stdio::piped()).output().map_err(failed)?;
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

fn command_line(
    (args, own): (&CompareArgs, &Path),
    cell: &Cell,
    server: Option<&Server>,
) -> Result<Vec<String>> {
    let folder = std::path::absolute(&args.folder)
        .map_err(|e| Error::invalid(format!("{} is no folder", args.folder.display())).with_source(e))?;
    let mut line: Vec<String> =
        args.through.iter().flat_map(|through| through.split_whitespace().map(str::to_owned)).collect();
    let Some((case, options)) = cell.args.split_first() else { return Err(Error::internal("no case")) };
    if cell.system == "alluvium" {
        let state = match server {
            Some(_) => format!("s3://{}/alluvium", s3::BUCKET),
            None => format!("file://{}/alluvium", folder.display()),
        };
        line.extend([args.alluvium.display().to_string(), "bench".to_owned(), case.clone()]);
        line.extend(["--json".to_owned(), "--state".to_owned(), state]);
    } else {
        let has_it = cell.system != "cobble" || cfg!(feature = "cobble");
        let own = if has_it { own } else { &args.cobble };
        line.extend([own.display().to_string(), "measure".to_owned(), case.clone(), cell.system.to_owned()]);
        line.extend(["--folder".to_owned(), folder.display().to_string()]);
        line.extend(server.iter().flat_map(|server| ["--server".to_owned(), server.address.clone()]));
    }
    if let (Some(far), None) = (cell.far, server) {
        line.extend(["--latency", far].map(str::to_owned));
    }
    line.extend(options.iter().cloned());
    Ok(line)
}
