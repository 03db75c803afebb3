//! Files that are locked, foreign, damaged or behind.

use super::*;

#[tokio::test]
async fn a_second_daemon_is_told_so() {
    let (_directory, path) = place();
    let _first = EmbeddedRegistry::open(&path).unwrap();
    let error = EmbeddedRegistry::open(&path).err().unwrap().to_string();
    assert!(error.contains("in use by another process"), "{error}");
    assert!(error.contains(path.to_str().unwrap()), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[tokio::test]
async fn files_that_are_none_are_refused_in_one_line() {
    let (directory, path) = place();
    let expect = |path: &Path, words: &str| {
        let error = EmbeddedRegistry::open(path).err().unwrap().to_string();
        assert!(error.contains(words) && !error.contains('\n'), "{error}");
    };
    fs::create_dir_all(&path).unwrap();
    expect(&path, "cannot be created");
    let text = directory.path().join("text");
    fs::write(&text, "name = \"web\"\n".repeat(1000)).unwrap();
    expect(&text, "is damaged");
    expect(&text.join("registry.redb"), "cannot be created");
    let newer = directory.path().join("newer");
    let database = redb::Database::create(&newer).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta = redb::TableDefinition::<&str, i64>::new("meta");
    transaction
        .open_table(meta)
        .unwrap()
        .insert("format", 9)
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    expect(&newer, "has format 9");
}

#[tokio::test]
async fn damage_never_passes_for_data() {
    let (_directory, path) = place();
    let registry = EmbeddedRegistry::open(&path).unwrap();
    for index in 0..30_u8 {
        let key = format!("/services/web/10.0.0.{index}:80");
        registry.put(&key, vec![index; 400], None).await.unwrap();
    }
    let whole = registry.list("").await.unwrap();
    close(registry).await;
    let bytes = fs::read(&path).unwrap();
    // Where there is something: the empty rest of the file says nothing.
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let mut refused = 0;
    for at in used.iter().copied().step_by(used.len() / 40) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x41;
        fs::write(&path, damaged).unwrap();
        match EmbeddedRegistry::open(&path) {
            Ok(registry) => {
                assert_eq!(registry.list("").await.unwrap(), whole, "byte {at}");
                close(registry).await;
            }
            Err(error) => {
                refused += 1;
                assert!(
                    error.to_string().contains("is damaged"),
                    "byte {at}: {error}"
                );
            }
        }
    }
    assert!(refused > 0, "some of it must matter");
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let error = EmbeddedRegistry::open(&path).err().unwrap().to_string();
    assert!(error.contains("is damaged"), "{error}");
}

#[tokio::test]
async fn after_a_failed_write_the_file_follows_memory() {
    let (_directory, path) = place();
    let registry = EmbeddedRegistry::open(&path).unwrap();
    let lease = registry.grant(LONG).await.unwrap();
    registry.put(KEY, vec![1], Some(lease)).await.unwrap();
    {
        // The file has what nobody was told of, as after an error in the middle of a commit.
        let mut writer = registry.writer.lock().await;
        let lost = registry
            .shared
            .read()
            .put(SECOND.to_owned(), vec![9], None)
            .unwrap();
        writer.store.write(&lost, &registry.shared).unwrap();
        writer.store.fail();
    }
    registry
        .put("/services/api/1", vec![2], None)
        .await
        .unwrap();
    let before = registry.list("").await.unwrap();
    close(registry).await;
    let registry = EmbeddedRegistry::open(&path).unwrap();
    assert_eq!(registry.list("").await.unwrap(), before);
    registry.keep_alive(lease).await.unwrap();
}
