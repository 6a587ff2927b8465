use super::*;
use slim_probe::{Body, Exchange, Protocol, Request, Response};

fn ended(exit_code: i64, output: &str) -> Behaviour {
    Behaviour {
        ending: Ending::ByItself { exit_code, output: output.as_bytes().to_vec() },
        ..Behaviour::default()
    }
}

fn stopped(exit_code: i64) -> Behaviour {
    Behaviour { ending: Ending::Stopped { exit_code }, ..Behaviour::default() }
}

fn answering(body: &str) -> Behaviour {
    let response =
        Response { status: 200, headers: Vec::new(), content_type: None, body: Body::whole(body.as_bytes()) };
    let request = Request::new(80, Protocol::Http, "GET", "/");
    let exchange = Exchange { request, response: Some(response), error: None };
    Behaviour { answers: Some(Recording::new(vec![exchange])), ..stopped(0) }
}

fn running(command: &str, exit_code: i64) -> Behaviour {
    let command = ExecExchange::new(vec![command.to_owned()], exit_code, b"", b"");
    Behaviour { commands: vec![command], ..stopped(0) }
}

fn told(fat: &Behaviour, again: Option<&Behaviour>, slim: &Behaviour) -> Vec<String> {
    differences(fat, again, slim).iter().map(ToString::to_string).collect()
}

#[test]
fn the_same_behaviour_is_no_difference() {
    for behaviour in [ended(0, "a\nb\n"), stopped(143), answering("hello"), running("app", 0)] {
        assert_eq!(told(&behaviour, Some(&behaviour), &behaviour), [""; 0]);
    }
}

#[test]
fn a_program_that_dies_is_told_once_with_what_it_did_before() {
    let mut fat = answering("hello");
    fat.commands = running("app", 0).commands;
    fat.health = Some(0);
    fat.listens = BTreeSet::from([80]);
    let mut slim = ended(127, "");
    slim.answers = answering("hullo").answers;
    assert_eq!(
        told(&fat, Some(&fat), &slim),
        [
            "the program ended with exit code 127 and should go on",
            r#"GET http://localhost/: body "hullo" instead of "hello" (at character 1)"#
        ]
    );
}

#[test]
fn a_container_that_does_not_start_has_one_difference() {
    let slim = Behaviour {
        ending: Ending::NotStarted { reason: "no such file".to_owned() },
        ..Behaviour::default()
    };
    assert_eq!(told(&answering("hello"), None, &slim), ["the container does not start: no such file"]);
}

#[test]
fn an_exit_code_counts_where_two_fat_runs_agree() {
    assert_eq!(
        told(&stopped(0), Some(&stopped(0)), &stopped(1)),
        ["the program ends with exit code 1 instead of 0"]
    );
    assert_eq!(told(&stopped(0), Some(&stopped(143)), &stopped(1)), [""; 0]);
    assert_eq!(told(&ended(0, ""), Some(&ended(0, "")), &ended(1, "")).len(), 1);
    assert_eq!(told(&ended(0, ""), Some(&ended(1, "")), &ended(1, "")), [""; 0]);
}

#[test]
fn a_program_that_should_have_ended_and_goes_on_is_different() {
    let slim = Behaviour { ending: Ending::RunsOn, ..Behaviour::default() };
    assert_eq!(told(&ended(0, "a"), None, &slim), ["the program goes on and should have ended"]);
}

#[test]
fn output_is_compared_by_lines_whatever_their_order() {
    assert_eq!(told(&ended(0, "a\nb\n"), None, &ended(0, "b\na\n")), [""; 0]);
    let other = told(&ended(0, "a\nb\n"), None, &ended(0, "b\nc\n"));
    assert_eq!(other, ["the program's output is another one:\n  missing: a\n  new: c"]);
    assert_eq!(told(&ended(0, "a\na\n"), None, &ended(0, "a\n")).len(), 1, "a line is missing once");
}

#[test]
fn output_that_changes_from_run_to_run_is_not_compared() {
    let (fat, again) = (ended(0, "at 1\ndone\n"), ended(0, "at 2\ndone\n"));
    assert_eq!(told(&fat, Some(&again), &ended(0, "at 3\ndone\n")), [""; 0]);
    let failed = told(&fat, Some(&again), &ended(0, "at 3\n"));
    assert_eq!(failed, ["the program's output is another one:\n  missing: done"]);
}

#[test]
fn much_output_is_told_in_a_few_lines() {
    let fat: String = (0..20).map(|number| format!("line {number}\n")).collect();
    let told = told(&ended(0, &fat), None, &ended(0, "")).remove(0);
    assert_eq!(told.lines().count(), 1 + LINES_SHOWN + 1);
    assert!(told.ends_with("missing: 15 more"), "{told}");
}

#[test]
fn a_port_that_is_silent_counts_where_both_fat_runs_listened() {
    let listens = |ports: &[u16]| Behaviour { listens: ports.iter().copied().collect(), ..stopped(0) };
    let fat = listens(&[80, 40123]);
    assert_eq!(told(&fat, Some(&listens(&[80, 51432])), &listens(&[])), ["nothing listens on port 80"]);
    assert_eq!(told(&fat, Some(&listens(&[80, 51432])), &listens(&[80, 33333])), [""; 0]);
}

#[test]
fn a_health_check_counts_where_two_fat_runs_agree() {
    let health = |code| Behaviour { health: code, ..stopped(0) };
    let fat = health(Some(0));
    assert_eq!(
        told(&fat, Some(&fat), &health(Some(126))),
        ["the HEALTHCHECK ends with exit code 126 instead of 0"]
    );
    assert_eq!(told(&fat, Some(&fat), &health(None)).len(), 1);
    assert_eq!(told(&fat, Some(&health(Some(1))), &health(Some(126))), [""; 0]);
}

#[test]
fn commands_and_answers_that_were_never_made_are_differences() {
    assert_eq!(told(&running("app", 0), None, &stopped(0)), ["`app`: it was not run"]);
    assert_eq!(told(&answering("a"), None, &stopped(0)), ["GET http://localhost/: the request was not made"]);
}

fn living(second: Option<Life>, read_only: Option<Life>) -> Behaviour {
    Behaviour { second, read_only, ..stopped(0) }
}

#[test]
fn a_second_start_counts_where_the_fat_image_survives_it() {
    let up = || Some(Life::Up { silent: None });
    let ended = |exit_code| Some(Life::Ended { exit_code });
    let fat = living(up(), None);
    assert_eq!(told(&fat, Some(&fat), &living(up(), None)), [""; 0]);
    assert_eq!(
        told(&fat, Some(&fat), &living(ended(3), None)),
        ["started a second time, the program ended with exit code 3 and should go on"]
    );
    let silent = Some(Life::Up { silent: Some(80) });
    assert_eq!(
        told(&fat, Some(&fat), &living(silent, None)),
        ["started a second time, nothing listens on port 80"]
    );
    let once_only = living(ended(1), None);
    assert_eq!(told(&fat, Some(&once_only), &living(ended(2), None)), [""; 0]);
    assert_eq!(told(&fat, Some(&fat), &living(None, None)), [""; 0], "it was not tried");
}

#[test]
fn the_second_run_of_a_program_that_ends_is_compared_by_its_exit_code() {
    let again = |exit_code| Behaviour { second: Some(Life::Ended { exit_code }), ..ended(0, "") };
    assert_eq!(told(&again(0), Some(&again(0)), &again(0)), [""; 0]);
    assert_eq!(
        told(&again(0), Some(&again(0)), &again(1)),
        ["started a second time, the program ends with exit code 1 instead of 0"]
    );
    assert_eq!(told(&again(0), Some(&again(4)), &again(1)), [""; 0]);
}

#[test]
fn a_read_only_root_counts_where_the_fat_image_survives_it() {
    let up = || Some(Life::Up { silent: None });
    let dead = || Some(Life::Ended { exit_code: 30 });
    let fat = living(None, up());
    assert_eq!(
        told(&fat, Some(&fat), &living(None, dead())),
        ["with a read-only root, the program ended with exit code 30 and should go on"]
    );
    assert_eq!(told(&fat, Some(&living(None, dead())), &living(None, dead())), [""; 0]);
    let slim = Behaviour { read_only: dead(), ..ended(30, "") };
    assert_eq!(told(&fat, Some(&fat), &slim).len(), 1, "what it says everywhere it says once");
}

#[test]
fn a_test_of_the_user_decides_by_its_exit_code_and_shows_its_output() {
    let test = |exit_code| Behaviour {
        tests: vec![Tested { command: "./test".to_owned(), exit_code, output: "one\ntwo\n".to_owned() }],
        ..stopped(0)
    };
    assert_eq!(told(&stopped(0), None, &test(Some(0))), [""; 0]);
    assert_eq!(
        told(&stopped(0), None, &test(Some(2))),
        ["`./test` on this machine ended with exit code 2\n  one\n  two"]
    );
    assert_eq!(told(&stopped(0), None, &test(None)).len(), 1);
}

fn acting(users: &[u32]) -> Behaviour {
    let acts_as = users.iter().map(|&user| Credentials { user, ..Credentials::default() }).collect();
    Behaviour { acts_as, ..stopped(0) }
}

#[test]
fn a_program_that_keeps_roots_rights_is_another_one() {
    let fat = acting(&[999]);
    assert_eq!(
        told(&fat, Some(&fat), &acting(&[0])),
        ["its processes act as others:\n  missing: user 999, group 0\n  new: user 0, group 0"]
    );
}

#[test]
fn a_helper_that_only_one_run_of_the_fat_image_has_is_not_missed() {
    assert_eq!(told(&acting(&[0, 33]), Some(&acting(&[33])), &acting(&[33])), [""; 0]);
    assert_eq!(told(&acting(&[33]), Some(&acting(&[33])), &acting(&[0, 33])).len(), 1);
    assert_eq!(told(&acting(&[33]), Some(&acting(&[33, 34])), &acting(&[0, 33])), [""; 0]);
}
