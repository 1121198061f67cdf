//! `pyro workspace disk`: the files of a stopped workspace.

use super::Here;
use super::args::{DiskExport, DiskList, DiskRead};
use crate::Exit;
use crate::cli::table::{cell, table};
use crate::living::DiskEntry;
use crate::receipt::Text;
use serde_json::json;

fn absolute(path: &Text) -> String {
    match path.text.as_str() {
        "" => "/workspace".to_owned(),
        text => format!("/workspace/{text}"),
    }
}

pub(super) fn list(args: &DiskList, here: Here<'_>) -> Exit {
    let listed = here.with(args.json, |workspaces| {
        workspaces.disk_list(&args.at.workspace, &args.path, args.recursive)
    });
    let (record, entries) = match listed {
        Ok(listed) => listed,
        Err(exit) => return exit,
    };
    if args.json {
        let entries = entries.iter().map(entry);
        here.payload(&json!({
            "workspace_id": record.id,
            "path": args.path,
            "recursive": args.recursive,
            "entries": entries.collect::<Vec<_>>(),
        }));
        return Exit::Ok;
    }
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            let target = entry.target.as_deref().map(Text::from);
            let target = target.map_or_else(String::new, |target| format!(" -> {}", target.text));
            let path = Text::from(&entry.path[..]);
            vec![
                cell(format!("{:04o}", entry.mode)),
                cell(entry.kind),
                cell(entry.size.to_string()).right(),
                cell(format!("{}{target}", path.text)),
            ]
        })
        .collect();
    here.terminal.print(&table(&rows, here.terminal));
    Exit::Ok
}

fn entry(entry: &DiskEntry) -> serde_json::Value {
    let path = Text::from(&entry.path[..]);
    let target = entry
        .target
        .as_deref()
        .map(|target| Text::from(target).text);
    let mut one = json!({
        "path": absolute(&path),
        "artifact_type": entry.kind,
        "size_bytes": entry.size,
        "mode": format!("{:04o}", entry.mode),
        "link_target": target,
    });
    if let Some(base64) = path.base64 {
        one["path_base64"] = base64.into();
    }
    one
}

pub(super) fn read(args: &DiskRead, here: Here<'_>) -> Exit {
    let read = here.with(args.json, |workspaces| {
        workspaces.disk_read(&args.at.workspace, &args.path, args.max_bytes.into())
    });
    let (record, file) = match read {
        Ok(read) => read,
        Err(exit) => return exit,
    };
    if args.json {
        let content = Text::from(&file.bytes[..]);
        let mut out = json!({
            "workspace_id": record.id,
            "path": args.path,
            "size_bytes": file.size,
            "max_bytes": args.max_bytes,
            "content": content.text,
            "binary": content.base64.is_some(),
            "truncated": file.truncated,
        });
        if file.redacted {
            out["redacted"] = true.into();
        }
        if let Some(base64) = content.base64 {
            out["content_base64"] = base64.into();
        }
        here.payload(&out);
        return Exit::Ok;
    }
    here.terminal.out(&file.bytes);
    if file.redacted {
        let name = &args.path;
        here.terminal.note(&format!(
            "secrets were taken out: this is not what {name} holds, so do not write it back"
        ));
    }
    if !args.content_only && file.truncated {
        here.terminal.note(&format!(
            "there is more, {} bytes in all: `--max-bytes {}`",
            file.size, file.size
        ));
    }
    Exit::Ok
}

pub(super) fn export(args: &DiskExport, here: Here<'_>) -> Exit {
    let written = here.with(args.json, |workspaces| {
        workspaces.disk_export(&args.at.workspace, &args.output)
    });
    let (record, size) = match written {
        Ok(written) => written,
        Err(exit) => return exit,
    };
    if args.json {
        here.payload(&json!({
            "workspace_id": record.id,
            "output_path": args.output.display().to_string(),
            "disk_format": "tar",
            "bytes_written": size,
        }));
    } else {
        here.say(&format!("wrote {} ({size} bytes)", args.output.display()));
    }
    Exit::Ok
}
