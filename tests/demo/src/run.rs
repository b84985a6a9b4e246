//! Runs the whole main job, from the API's pages to an analyst's answer, on real servers with real processes.

mod archive;
mod checks;
mod configs;
mod fleet;
mod lake;
mod layout;
mod leak;
mod report;
mod show;
mod topics;
mod way;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde_json::{Value, json};
use sluice_stack::{ServerStack, StackInstallation, StackStartStep};

use crate::data::DemoDataSet;
use crate::ids;
use crate::truth::DemoTruth;
use configs::{DemoAddresses, DemoFleetMember};
use fleet::DemoFleet;
use lake::DemoLake;
use layout::DemoFolders;
use report::DemoReport;
use show::DemoDisplay;

/// The database that holds the tail numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DemoDatabase {
    Mariadb,
    Postgres,
}

/// Options of `sluice-demo run`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoRunOptions {
    /// Folder of the run; a second run goes on from the first
    #[arg(long, default_value = "target/demo")]
    dir: PathBuf,
    /// Folder with flights.csv[.gz] and planes.csv[.gz]; default: the year that setup/setup.sh has fetched
    #[arg(long)]
    data: Option<PathBuf>,
    /// Only the first months of the year
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u8).range(1..=12))]
    months: u8,
    /// Folder of the contracts
    #[arg(long, default_value = "schemas")]
    schemas: PathBuf,
    /// Database that holds the tail numbers
    #[arg(long, value_enum, default_value = "mariadb")]
    database: DemoDatabase,
    /// Decides which requests meet faults and which pages hold broken records
    #[arg(long, default_value_t = 2013)]
    seed: u64,
    /// Kill every worker once with SIGKILL in the middle of its work; it is started again
    #[arg(long)]
    kill_each: bool,
    /// Leave servers and workers running at the end, until Ctrl-C
    #[arg(long)]
    keep: bool,
}

/// Runs the demo. Returns `Ok(false)` if a check does not hold.
pub(crate) fn run(options: &DemoRunOptions) -> Result<bool> {
    let mut show = DemoDisplay::new();
    let sluice = beside_us("sluice")?;
    let layout = DemoFolders::create(&options.dir)?;
    let data_dir = match &options.data {
        Some(dir) => dir.clone(),
        None => StackInstallation::here().flights_data()?,
    };
    let data = DemoDataSet::load(&data_dir, options.months)?;
    let truth = DemoTruth::of(&data);
    let tails: Vec<&str> = data.by_tail.keys().map(String::as_str).collect();
    layout.same_as_before(&format!(
        "{} flights, {} tail numbers, seed {}, {:?}",
        truth.flights, truth.tails, options.seed, options.database
    ))?;
    show.say(&format!(
        "data: {} flights of {} tail numbers, {} aircraft known",
        report::thousands(truth.flights),
        report::thousands(truth.tails),
        report::thousands(truth.aircraft)
    ));

    let began = Instant::now();
    let stack = start_stack(&layout, &show)?;
    let database_url = match options.database {
        DemoDatabase::Mariadb => stack.mariadb_url(),
        DemoDatabase::Postgres => stack.postgres_url(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("starting tokio")?;
    let ids = runtime.block_on(ids::load(database_url, &tails))?;
    show.say(&format!("{} tail numbers in the table tail_numbers", report::thousands(ids)));

    let schemas =
        options.schemas.canonicalize().with_context(|| format!("finding {}", options.schemas.display()))?;
    let mut places = DemoAddresses {
        brokers: stack.brokers(),
        registry: stack.registry_url(),
        api: "",
        schemas: &schemas,
        database_url: &layout.known_secret("database.url", database_url)?,
        token: &layout.random_secret("api.token")?,
        key: &layout.random_secret("pseudonym.1.key")?,
    };
    apply(&sluice, &configs::write_apply(&layout, &places)?, &layout)?;
    show.say("sluice apply: topics are created, schemas registered");

    let mut api = DemoFleet::default();
    let address = start_api(&mut api, &layout, &data_dir, options, places.token)?;
    show.say(&format!("the external API answers at {address}"));
    places.api = &address;
    let members = configs::write_members(&layout, &places)?;
    let mut fleet = DemoFleet::default();
    for member in &members {
        fleet.start(member.name, &sluice, &member.arguments, layout.log(member.name))?;
    }
    show.say(
        "the fleet is started: two collectors, masker, normaliser, a sink to the archive, a sink to the lake",
    );

    let raw = leak::RawTailNumbers::new(tails.iter().copied());
    let way = way::DemoRecordTrail {
        raw: &raw,
        truth: &truth,
        kill_each: options.kill_each,
        archive: &layout.archive(),
        members: &members,
        runtime: &runtime,
    };
    let mut arrived = way.go(stack.brokers(), &mut fleet, &mut api, &mut show)?;
    show.finish();
    let seconds = began.elapsed().as_secs_f64();
    let api_stats = runtime.block_on(api_stats(&address, places.token));
    show.say(&format!("everything has arrived, after {seconds:.1} s; now checking that it adds up"));

    let lake = DemoLake { sluice, dir: layout.lake() };
    let mut found = checks::of_topics(&truth, &arrived.counts, ids);
    let (of_lake, rows) = checks::of_lake(&truth, &arrived.counts, &lake)?;
    found.extend(of_lake);
    arrived.set_lake_rows(rows);
    if !options.keep {
        fleet.stop()?;
    }
    found.extend(checks::of_leaks(&arrived.leaks, raw.found_in_files(&layout.logs())?));
    let stages = arrived.stages(&truth, &fleet);
    found.extend(checks::of_memory(fleet.workers.iter().map(|worker| (worker.name.as_str(), worker.peak))));
    let question = lake::delay_by_manufacturer_and_age((truth.flights / 200).max(1));
    let report = DemoReport {
        ok: found.iter().all(|check| check.ok),
        seconds,
        stages,
        checks: found,
        api: api_stats.unwrap_or_default(),
        answer: lake.rows(&question)?.into(),
        places: where_to_look(&layout, &stack, &members),
    };
    report.write(&layout.report())?;
    println!("{}", report.tables());
    println!(
        "delay in minutes by manufacturer and age, from the masked tables:\n{}",
        lake.table(&question)?.trim_end()
    );
    println!("{}", directions(&layout, &lake, options.keep, &stack, &members));
    println!(
        "{}: {:.1} s, {}",
        if report.ok { "all adds up" } else { "IT DOES NOT ADD UP" },
        seconds,
        layout.report().display()
    );

    if options.keep {
        runtime.block_on(tokio::signal::ctrl_c()).context("waiting for Ctrl-C")?;
        fleet.stop()?;
    }
    drop(api); // it has nothing to finish
    stack.stop()?;
    Ok(report.ok)
}

fn beside_us(name: &str) -> Result<PathBuf> {
    let file = std::env::current_exe().context("finding our own program")?.with_file_name(name);
    if !file.exists() {
        bail!("{} is not there: build it with `cargo build -p {name}`", file.display());
    }
    Ok(file)
}

fn start_stack(layout: &DemoFolders, show: &DemoDisplay) -> Result<ServerStack> {
    show.say("starting Kafka, the schema registry, MariaDB and PostgreSQL as child processes");
    let stack = ServerStack::builder()
        .root(layout.servers())
        .logs(layout.logs())
        .kafka(1)
        .registry()
        .mariadb()
        .postgres()
        .on_progress(|news| {
            if let StackStartStep::Ready(after) = news.step {
                show.say(&format!("{} is up after {:.1} s", news.server, after.as_secs_f64()));
            }
        })
        .start()?;
    Ok(stack)
}

fn apply(sluice: &Path, config: &Path, layout: &DemoFolders) -> Result<()> {
    let answer =
        Command::new(sluice).args(["apply", "-c"]).arg(config).output().context("running `sluice apply`")?;
    let text = [answer.stdout, answer.stderr].concat();
    std::fs::write(layout.log("apply"), &text).context("writing a log")?;
    if !answer.status.success() {
        bail!("`sluice apply` failed ({}):\n{}", answer.status, String::from_utf8_lossy(&text));
    }
    Ok(())
}

fn start_api(
    fleet: &mut DemoFleet,
    layout: &DemoFolders,
    data: &Path,
    options: &DemoRunOptions,
    token: &Path,
) -> Result<String> {
    let announce = layout.dir.join("api.address");
    let _ = std::fs::remove_file(&announce); // a former run's
    let path = |path: &Path| path.display().to_string();
    let mut arguments = vec!["api".to_owned(), "--data".into(), path(data), "--token".into(), path(token)];
    arguments.extend(["--announce".into(), path(&announce), "--seed".into(), options.seed.to_string()]);
    arguments.extend(["--months".into(), options.months.to_string()]);
    let us = std::env::current_exe().context("finding our own program")?;
    fleet.start("api", &us, &arguments, layout.log("api"))?;
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Ok(address) = std::fs::read_to_string(&announce) {
            return Ok(address);
        }
        fleet.watch()?;
        if Instant::now() > deadline {
            bail!("the API did not start; see {}", layout.log("api").display());
        }
        std::thread::sleep(Duration::from_millis(50)); // for the file to appear
    }
}

async fn api_stats(address: &str, token: &Path) -> Result<Value> {
    let token = std::fs::read_to_string(token).context("reading the API's token")?;
    let answer =
        reqwest::Client::new().get(format!("{address}/stats")).bearer_auth(token.trim()).send().await?;
    Ok(answer.json().await?)
}

fn where_to_look(layout: &DemoFolders, stack: &ServerStack, members: &[DemoFleetMember]) -> Value {
    let admin: serde_json::Map<String, Value> = members
        .iter()
        .map(|member| (member.name.to_owned(), json!(format!("http://{}/status", member.admin))))
        .collect();
    json!({
        "lake": layout.lake(), "archive": layout.archive(), "logs": layout.logs(), "config": layout.config(),
        "brokers": stack.brokers(), "registry": stack.registry_url(), "admin": admin,
    })
}

fn directions(
    layout: &DemoFolders,
    lake: &DemoLake,
    keep: bool,
    stack: &ServerStack,
    members: &[DemoFleetMember],
) -> String {
    let mut text = format!(
        "\nlake      {}\narchive   {}\nlogs      {}\nask       {} sql --lake {} 'SELECT … FROM aviation_flight_masked_v1 …'\n",
        lake::table_path(&layout.lake(), "<topic>"),
        layout.archive().display(),
        layout.logs().display(),
        lake.sluice.display(),
        layout.lake().display(),
    );
    if keep {
        text += &format!("topics    {} (registry {})\n", stack.brokers(), stack.registry_url());
        for member in members.iter().filter(|member| !member.name.starts_with("collector")) {
            text +=
                &format!("admin     {:<10} http://{}/status, /metrics, /readyz\n", member.name, member.admin);
        }
        text += "everything runs until Ctrl-C\n";
    } else {
        text += &format!(
            "topics    bring the servers up again with: {} up --dir {}\nadmin     run with --keep: servers and workers stay up with their admin pages (make demo KEEP=1)\n",
            lake.sluice.display(),
            layout.servers().display()
        );
    }
    text
}
