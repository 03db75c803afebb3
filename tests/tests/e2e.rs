#[test]
fn lab_up() -> anyhow::Result<()> {
    use navigator_tests::lab::*;
    let t = std::time::Instant::now();
    let lab = Lab::new(Plan { clients: 1, backends: 2, far: 1 })?;
    eprintln!("lab {:?}", t.elapsed());
    let n1 = nginx::Nginx::start(&lab, &lab.backends[0])?;
    eprintln!("nginx {:?}", t.elapsed());
    let n2 = nginx::Nginx::start(&lab, &lab.far[0])?;
    let etcd = etcd::Etcd::start(&lab)?;
    eprintln!("etcd {:?}", t.elapsed());
    etcd.put("/a", "b")?;
    eprintln!("put {:?}", t.elapsed());
    for a in [backend(0).0, backend(0).1, far(0).0, far(0).1] {
        let s = client::ask_many(lab.client(), (a, 80).into(), 100);
        eprintln!("{a} {} {:?} {:?}", s.len(), client::failures(&s), t.elapsed());
    }
    let a = (backend(0).1, 80).into();
    let mut d = curl::Download::start(&lab, lab.client(), "x", a, 3)?;
    eprintln!("dl {} {:?}", d.backend()?, t.elapsed());
    d.finish()?;
    eprintln!("dl {:?}", t.elapsed());
    let w = wrk::Wrk::start(lab.client(), a, 1, wrk::Connections::OnePerRequest)?;
    eprintln!("{:?}", w.finish()?);
    let w = wrk::Wrk::start(lab.client(), a, 1, wrk::Connections::KeptAlive)?;
    eprintln!("{:?}", w.finish()?);
    let t = std::time::Instant::now();
    n1.kill();
    eprintln!("{:?} {:?}", client::get(a, "/"), t.elapsed());
    n2.quit();
    drop(etcd);
    drop(lab);
    eprintln!("down {:?}", t.elapsed());
    Ok(())
}
