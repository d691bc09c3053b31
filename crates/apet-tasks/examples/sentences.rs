//! Writes the splits of the task `sentences` for the page: `sentences FROM TO`, where FROM is the folder
//! of imdb.json, yelp.json and amazon.json, and TO the folder of the tasks.

use std::error::Error;
use std::fs;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let mut folders = std::env::args().skip(1).map(PathBuf::from);
    let (Some(from), Some(to)) = (folders.next(), folders.next()) else {
        return Err("expected two folders: FROM TO".into());
    };
    let read = |file: &str| {
        let path = from.join(file);
        fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))
    };
    let splits = apet_tasks::sentences(
        &read("imdb.json")?,
        &read("yelp.json")?,
        &read("amazon.json")?,
    )?;
    fs::create_dir_all(to.join("sentences"))?;
    for split in [splits.train, splits.dev, splits.test]
        .into_iter()
        .flatten()
    {
        fs::write(to.join(&split.name), &split.bytes)?;
    }
    Ok(())
}
