//! `sluice catalogue`: the contracts as a static site.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use crate::cli::local_folder;
use crate::exit::{CommandFinding, CommandResult};

#[derive(Debug, Args)]
#[command(after_help = "Open index.html in a browser, or serve the folder. The pages need no network.")]
pub(crate) struct CatalogueArgs {
    /// Folder of the contracts.
    #[arg(long, value_name = "DIR", default_value = "schemas", value_parser = local_folder())]
    schemas: PathBuf,
    /// Folder of the site. It is created if it does not exist, and pages of the same name are overwritten.
    #[arg(long, value_name = "DIR", value_parser = local_folder())]
    out: PathBuf,
}

/// Writes the site's pages into a folder.
pub(crate) fn catalogue(args: &CatalogueArgs) -> CommandResult {
    // A broken contract stops here: the site never shows a part of the contracts.
    let (contracts, views) = crate::contract::load_with_views(&args.schemas)?;
    std::fs::create_dir_all(&args.out).with_context(|| format!("making {}", args.out.display()))?;

    // The pages are made in memory. Files of other names stay: they may be the user's.
    let pages = sluice_govern::site(&contracts, &views, &crate::workers::access());
    for page in &pages {
        let path = args.out.join(&page.name);
        std::fs::write(&path, &page.html).with_context(|| format!("writing {}", path.display()))?;
    }
    println!("{} pages were written; begin with {}", pages.len(), args.out.join("index.html").display());
    Ok(CommandFinding::Nothing)
}
