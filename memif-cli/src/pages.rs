//! Manual pages and completions, made of the definitions of the command line.

use std::fs;
use std::io::{self, Write as _};

use clap::CommandFactory;
use clap_mangen::Man;

use crate::args::{Cli, CompletionsArgs, ManArgs};
use crate::error::ToolError;

/// `memif completions`
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), ToolError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "memif", &mut script);
    write(&script)
}

/// `memif man`
///
/// # Errors
/// Standard output or the folder cannot be written.
pub(crate) fn man(args: &ManArgs) -> Result<(), ToolError> {
    let Some(folder) = &args.folder else {
        let mut page = Vec::new();
        Man::new(Cli::command()).render(&mut page).map_err(ToolError::Output)?;
        return write(&page);
    };
    let written = fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder));
    written.map_err(|error| ToolError::Pages { folder: folder.clone(), error })
}

fn write(bytes: &[u8]) -> Result<(), ToolError> {
    let mut out = io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(ToolError::Output)
}
