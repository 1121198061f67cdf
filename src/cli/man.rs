//! `pyro completions` and `pyro man`: what shells and `man` want to know of the command line.

use super::args::{Cli, Completions, Man};
use super::terminal::Terminal;
use crate::Exit;
use crate::workspace::replace_file;
use clap::{Command, CommandFactory as _};
use std::path::Path;

/// Prints the completions for a shell.
pub(super) fn completions(args: &Completions, terminal: &Terminal) -> Exit {
    let mut out = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "pyro", &mut out);
    terminal.out(&out);
    Exit::Ok
}

/// Prints the manual page, or writes one for each command.
pub(super) fn man(args: &Man, terminal: &Terminal) -> Exit {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let Some(folder) = &args.out else {
        terminal.out(&page(&command));
        return Exit::Ok;
    };
    let mut pages = Vec::new();
    gather(&command, "pyro".to_owned(), &mut pages);
    for (name, page) in &pages {
        if let Err(error) = write(folder, name, page) {
            terminal.error(&format!(
                "could not write {}: {error}",
                folder.join(name).display()
            ));
            return Exit::Input;
        }
    }
    if !terminal.quiet {
        terminal.print(&format!(
            "wrote {} pages to {}; read one with `man -l {}`\n",
            pages.len(),
            folder.display(),
            folder.join("pyro.1").display()
        ));
    }
    Exit::Ok
}

fn write(folder: &Path, name: &str, page: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    replace_file(&folder.join(name), page)
}

fn gather(command: &Command, name: String, pages: &mut Vec<(String, Vec<u8>)>) {
    pages.push((format!("{name}.1"), page(command)));
    for below in command.get_subcommands() {
        gather(below, format!("{name}-{}", below.get_name()), pages);
    }
}

fn page(command: &Command) -> Vec<u8> {
    let mut out = Vec::new();
    clap_mangen::Man::new(command.clone())
        .render(&mut out)
        .expect("memory takes everything");
    out
}
