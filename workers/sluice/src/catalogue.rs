//! `sluice catalogue`: the contracts as a static site.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use crate::exit::{CommandFinding, CommandResult};

#[derive(Debug, Args)]
#[command(after_help = "Open index.html in a browser, or serve the folder; pages need no network.")]
pub(crate) struct CatalogueArgs {
    /// Folder of the contracts.
    #[arg(long, value_name = "DIR", default_value = "schemas")]
    schemas: PathBuf,
    /// Where the site goes; made if it is not there, pages of the same name are written anew.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(crate) fn catalogue(args: &CatalogueArgs) -> CommandResult {
    let (contracts, views) = crate::contract::load_with_views(&args.schemas)?;
    std::fs::create_dir_all(&args.out).with_context(|| format!("making {}", args.out.display()))?;
    let pages = sluice_govern::site(&contracts, &views);
    for page in &pages {
        let path = args.out.join(&page.name);
        std::fs::write(&path, &page.html).with_context(|| format!("writing {}", path.display()))?;
    }
    println!("{} pages; begin with {}", pages.len(), args.out.join("index.html").display());
    Ok(CommandFinding::Nothing)
}
