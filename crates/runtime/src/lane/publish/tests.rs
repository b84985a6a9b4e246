use super::*;

/// One record, which is over from the beginning of a group on if `over`.
struct TextPublication {
    text: &'static str,
    over: bool,
}

impl Publication for TextPublication {
    type Answer = &'static str;

    fn size(&self) -> usize {
        self.text.len()
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn send(&self, send: &mut dyn FnMut(&OutgoingRecord<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
        send(&OutgoingRecord {
            topic: "t",
            partition: None,
            key: None,
            value: Some(self.text.as_bytes()),
            timestamp_ms: None,
            headers: &[],
        })
    }

    fn answer(self) -> &'static str {
        self.text
    }
}

#[derive(Default)]
struct FakePublishProducer {
    open: Vec<String>,
    committed: Vec<Vec<String>>,
    /// Faults of the commits, first to last.
    faults: Vec<Option<Fault>>,
    aborts: usize,
}

impl PublishProducer for FakePublishProducer {
    fn begin(&mut self) -> Result<(), Fault> {
        assert!(self.open.is_empty(), "a group is open already");
        Ok(())
    }

    fn send(&mut self, record: &OutgoingRecord<'_>) -> Result<(), Fault> {
        self.open.push(String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap());
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Fault> {
        if !self.faults.is_empty()
            && let Some(fault) = self.faults.remove(0)
        {
            return Err(fault);
        }
        self.committed.push(std::mem::take(&mut self.open));
        Ok(())
    }

    fn abort(&mut self) -> Result<(), Fault> {
        self.open.clear();
        self.aborts += 1;
        Ok(())
    }
}

const PACE: PublishPace = PublishPace { publications: 2, bytes: 100, linger: Duration::ZERO, redos: 3 };

/// Hands `publications` over at once, and returns how the lane ended and who was answered.
fn publish_all(
    fake: &mut FakePublishProducer,
    publications: Vec<TextPublication>,
) -> (Result<(), Fault>, Vec<bool>) {
    let (sender, receiver) = mpsc::channel(16);
    let mut answers = Vec::new();
    for publication in publications {
        let (answer, answered) = oneshot::channel();
        sender.try_send((publication, answer)).ok().unwrap();
        answers.push(answered);
    }
    drop(sender);
    let ended = serve(fake, receiver, PACE);
    (ended, answers.into_iter().map(|mut answer| answer.try_recv().is_ok()).collect())
}

fn good(text: &'static str) -> TextPublication {
    TextPublication { text, over: false }
}

#[test]
fn a_group_has_at_most_the_publications_of_its_pace_and_all_are_answered() {
    let mut fake = FakePublishProducer::default();
    let (ended, answered) = publish_all(&mut fake, vec![good("a"), good("b"), good("c")]);
    ended.unwrap();
    assert_eq!(fake.committed, [vec!["a".to_owned(), "b".to_owned()], vec!["c".to_owned()]]);
    assert_eq!(answered, [true, true, true]);
}

#[test]
fn a_publication_that_is_over_does_not_go_out_and_is_not_answered() {
    let mut fake = FakePublishProducer::default();
    let over = TextPublication { text: "late", over: true };
    let (ended, answered) = publish_all(&mut fake, vec![over, good("b")]);
    ended.unwrap();
    assert_eq!((fake.committed.concat(), answered), (vec!["b".to_owned()], vec![false, true]));
}

#[test]
fn a_group_that_is_aborted_is_sent_again_whole() {
    let faults = vec![Some(Fault::rewind("committing", "abortable")), None];
    let mut fake = FakePublishProducer { faults, ..FakePublishProducer::default() };
    let (ended, answered) = publish_all(&mut fake, vec![good("a"), good("b")]);
    ended.unwrap();
    assert_eq!((fake.aborts, fake.committed.concat().len(), answered), (1, 2, vec![true, true]));
}

#[test]
fn an_unknown_outcome_answers_nobody_and_sends_nothing_again() {
    let faults = vec![Some(Fault::outage("committing", "timed out"))];
    let mut fake = FakePublishProducer { faults, ..FakePublishProducer::default() };
    let (ended, answered) = publish_all(&mut fake, vec![good("a"), good("b")]);
    assert_eq!(ended.unwrap_err().retry, Retry::Later);
    assert_eq!((fake.aborts, fake.committed.len(), answered), (0, 0, vec![false, false]));
}
