"""The rows of the matrix: what is survived, and the tests that try it."""

from __future__ import annotations

from typing import NamedTuple

BAD_INPUT = "tests/bad_input"
"""Each test in here, and each of its parameters, is a row by itself."""


class Row(NamedTuple):
    """A case; it is survived if all its tests pass."""

    group: str
    case: str
    tests: tuple[str, ...]


def _rows(group: str, cases: dict[str, tuple[str, ...]]) -> list[Row]:
    """Read cases whose tests are written `file::test`, from `tests/` on."""
    return [
        Row(group, case, tuple(f"tests/{test.replace('::', '.py::', 1)}" for test in tests))
        for case, tests in cases.items()
    ]


PROCESS = {
    "kill -9 at 20 random moments": (
        "test_durability::test_kill_9_at_20_random_moments_changes_nothing_and_buys_nothing_twice",
    ),
    "kill -9 again and again": ("test_durability::test_a_run_killed_again_and_again_still_ends_the_same",),
    "kill -9 during commits": ("test_journal::test_kill_9_loses_no_acknowledged_call",),
    "kill -9 during a template search": (
        "test_durability::test_a_template_search_killed_from_the_command_line_ends_with_the_same_best",
    ),
    "kill -9 while a batch is out": (
        "models/test_remote_batch::test_a_run_killed_while_a_batch_is_out_pays_nothing_twice",
    ),
    "a training cut at any step": (
        "search/test_training::test_a_training_cut_at_any_steps_ends_with_the_same_bits",
    ),
    "cut anywhere": (
        "test_run_in_its_folder::test_a_run_cut_anywhere_goes_on_to_the_same_end",
        "test_contest::test_a_contest_cut_anywhere_goes_on_to_the_same_end",
    ),
    "Ctrl-C once: what is under way is kept": (
        "faults/test_processes::test_one_interrupt_waits_for_the_calls_under_way_and_keeps_them",
    ),
    "Ctrl-C twice: at once": ("faults/test_processes::test_a_second_interrupt_stops_at_once",),
    "Ctrl-C between calls": (
        "faults/test_processes::test_an_interrupt_while_no_call_is_under_way_stops_at_once",
    ),
    "disk full, quota spent": (
        "faults/test_processes::test_a_full_disk_ends_a_run_in_a_line_and_it_goes_on_when_there_is_room",
    ),
    "two processes on one run": (
        "faults/test_processes::test_a_second_process_is_turned_away_and_harms_nothing",
        "test_run_in_its_folder::test_one_process_at_a_time",
    ),
    "a stale lock": (
        "faults/test_processes::test_a_lock_file_of_a_process_that_is_gone_keeps_nobody_out",
        "test_runfolder::test_a_claim_keeps_others_out_and_ends_with_its_process",
    ),
    "a clock that jumps": ("faults/test_processes::test_a_clock_that_jumps_changes_nothing",),
    "a worker dies": ("test_shared::test_three_processes_share_a_study_and_one_is_killed",),
    "what a dead worker had claimed": (
        "store/test_postgres::test_what_the_dead_had_claimed_and_sent_is_free_and_counted_as_lost",
    ),
    "out of memory on the device": ("models/test_local::test_a_batch_that_does_not_fit_is_halved",),
}

ENDPOINT = {
    "429 with Retry-After: the endpoint waits": (
        "models/test_remote_pace::test_a_retry_after_makes_the_whole_endpoint_wait",
    ),
    "refusals: concurrency falls and recovers": (
        "models/test_remote_pace::test_congestion_slows_the_endpoint_down",
        "models/test_pace::test_it_comes_close_to_the_best_fixed_number_and_is_rarely_refused",
    ),
    "Retry-After beyond the deadline, or senseless": (
        "models/test_remote_failures::test_a_wait_beyond_the_deadline_is_not_waited_for",
        "models/test_remote_failures::test_a_senseless_retry_after_does_no_harm",
    ),
    "408, 409, 425, 429, 5xx": (
        "models/test_remote_failures::test_a_passing_trouble_is_tried_again",
        "models/test_remote_failures::test_a_lasting_trouble_is_a_failed_server",
    ),
    "400, 413, 418, 422: no retry": (
        "models/test_remote_failures::test_a_refused_request_is_not_tried_again",
    ),
    "401 and 403: stop": (
        "models/test_remote_failures::test_a_refused_key_ends_the_run_and_names_the_variable",
    ),
    "429 for a spent quota: stop": ("models/test_remote_failures::test_a_spent_quota_ends_the_run",),
    "404: stop": (
        "models/test_remote_failures::test_an_unknown_model_ends_the_run_with_the_models_there_are",
        "models/test_remote_failures::test_a_wrong_path_ends_the_run_with_a_hint",
    ),
    "one row always 500": (
        "faults/test_endpoints::test_a_row_that_is_always_refused_is_a_failed_cell_of_every_prompt",
    ),
    "accepts and never answers; a dripping body": (
        "models/test_remote_failures::test_no_reply_outlives_its_deadline",
    ),
    "200 with HTML, cut JSON, no choices, null": (
        "models/test_remote_failures::test_a_reply_without_sense_is_tried_again_and_then_malformed",
    ),
    "a refusal, parts, length": (
        "models/test_remote_failures::test_unusual_replies_that_hold_a_text_are_read",
    ),
    "missing or negative usage": (
        "models/test_remote::test_missing_usage_becomes_an_upper_bound",
        "models/test_remote::test_usage_that_cannot_be_true_becomes_an_upper_bound",
    ),
    "a connection broken off": (
        "models/test_remote_failures::test_a_connection_broken_off_is_tried_again_and_may_have_been_billed",
    ),
    "the server is restarted": ("faults/test_processes::test_a_server_that_is_restarted_loses_no_cell",),
    "the server never was, or goes away": (
        "models/test_remote_failures::test_an_address_where_nothing_ever_answered_ends_the_run_at_once",
        "models/test_remote_failures::test_an_endpoint_that_goes_away_fails_requests_and_then_ends_the_run",
    ),
    "another model behind the name": (
        "faults/test_endpoints::test_another_model_behind_the_name_is_told_and_answers_anew",
        "faults/test_endpoints::test_answers_of_the_model_before_are_not_taken_over",
        "faults/test_endpoints::test_a_model_that_changes_while_the_verdict_is_spoken_needs_a_fresh_process",
    ),
    "several models behind one name": (
        "faults/test_endpoints::test_several_models_behind_one_name_stop_the_run",
    ),
    "a reply of a megabyte": ("faults/test_endpoints::test_a_reply_of_a_megabyte_is_kept_whole_and_judged",),
    "half a character in a reply": (
        "test_calls::test_half_a_character_in_a_reply_is_replaced_before_it_is_used",
    ),
    "log-probabilities of another text": (
        "models/test_remote_likelihood::test_tokens_of_another_text_are_not_believed",
    ),
}

MONEY = {
    "the cap at 64 at once": ("test_durability::test_at_concurrency_64_the_spend_never_passes_the_cap",),
    "retries count": ("test_durability::test_retries_count_as_calls_and_stay_under_the_cap",),
    "what a kill may have lost counts": ("test_calls::test_attempts_lost_in_a_kill_count_against_the_cap",),
    "a model that changes": ("faults/test_endpoints::test_a_change_of_the_model_never_passes_the_budget",),
    "any order of reserving and settling": (
        "test_ledger::TestAnyInterleaving",
        "test_ledger::test_no_order_of_reserving_and_settling_passes_a_cap",
    ),
    "threads": ("test_ledger::test_threads_cannot_reserve_the_same_money_twice",),
    "several processes": ("store/test_postgres::test_together_they_keep_within_the_budget",),
    "the same asked twice at once": (
        "test_durability::test_eight_identical_concurrent_requests_make_one_call",
    ),
    "a budget that ends in the proof": (
        "test_run::test_a_budget_that_ends_in_the_proof_judges_the_rows_all_have_met",
    ),
}

JOURNAL = {
    "a corrupt row": ("test_journal::test_a_corrupt_row_is_a_miss",),
    "a corrupt row among several processes": (
        "store/test_postgres::test_the_first_outcome_stays_and_a_broken_one_is_replaced",
    ),
    "a million cells": (
        "faults/test_size::test_a_journal_of_a_million_cells_opens_in_a_second_and_is_gone_on_with",
    ),
    "another version, no database": (
        "test_journal::test_another_version_and_a_file_that_is_no_journal_are_refused",
        "store/test_migrations::test_a_file_of_the_first_version_is_not_changed_by_reading",
        "store/test_migrations::test_a_newer_version_is_refused_with_the_cure",
    ),
    "a broken result": ("test_runfolder::test_a_broken_result_is_one_line",),
    "a run that bought nothing": (
        "test_runfolder::test_a_run_that_bought_nothing_leaves_latest_where_it_was",
    ),
}

OTHERS = {
    "a reward raises or returns NaN": (
        "test_scoring::test_a_reward_that_raises_or_is_not_finite_makes_the_cell_failed",
    ),
    "a reward hangs for a row": (
        "faults/test_rewards::test_a_reward_that_hangs_for_a_row_fails_its_cells_and_no_other",
    ),
    "a reward always hangs": ("faults/test_rewards::test_a_reward_that_always_hangs_ends_the_run_soon",),
    "a regular expression that backtracks": (
        "faults/test_rewards::test_an_alarm_interrupts_what_no_thread_could",
    ),
    "a late call": ("faults/test_rewards::test_a_late_call_is_left_behind_and_the_next_one_is_answered",),
    "a searcher returns nonsense": (
        "faults/test_searchers::test_whatever_a_searcher_returns_the_run_ends_in_a_verdict",
    ),
    "a searcher goes round in circles": (
        "faults/test_searchers::test_a_searcher_that_goes_round_in_circles_is_ended_and_keeps_what_it_found",
    ),
    "a searcher looks at sealed rows": (
        "test_run::test_a_searcher_cannot_score_on_foreign_rows",
        "test_run::test_a_row_altered_by_a_searcher_is_a_foreign_row",
    ),
    "one of several searchers fails": (
        "test_contest::test_the_best_searcher_wins_and_a_failing_one_costs_the_others_nothing",
    ),
    "a plug-in that cannot be imported": ("test_plugins::test_a_plug_in_that_cannot_be_imported_says_why",),
}

PRIVACY = {
    "formulas in CSV files, hostile texts in pages": (
        "report/test_formats::test_csv_has_every_row_and_no_formula",
        "report/test_page::test_what_is_hostile_stays_text",
        "view/test_page::test_hostile_pages_are_quiet_and_nothing_sticks_out",
    ),
    "a key echoed in errors and replies": (
        "faults/test_secrets::test_a_key_that_is_echoed_is_nowhere_on_disk_or_screen",
    ),
    "a key in the job": ("test_config::test_secrets_are_refused_and_never_shown",),
    "a key in a URL": ("models/test_remote::test_a_base_url_with_a_secret_is_refused_without_showing_it",),
    "a key cut in half": (
        "models/test_remote_failures::test_a_key_cut_by_the_shortening_is_redacted_all_the_same",
    ),
    "others on the machine": (
        "faults/test_privacy::test_a_run_is_readable_by_its_owner_alone",
        "test_runfolder::test_a_run_is_readable_by_its_owner_alone",
    ),
    "other addresses": (
        "faults/test_privacy::test_a_remote_run_seeks_its_endpoint_and_no_other_address",
        "faults/test_privacy::test_a_run_of_functions_seeks_no_address",
    ),
    "no network: an embedded model runs": (
        "faults/test_privacy::test_without_any_network_the_embedded_model_runs_and_seeks_no_address",
    ),
    "no network: the whole demo": (
        "faults/test_privacy::test_without_any_network_the_demo_ends_in_its_verdict",
    ),
    "telemetry of libraries": (
        "faults/test_privacy::test_who_wants_telemetry_keeps_it",
        "search/test_rl::test_training_reports_to_nobody_and_leaves_chance_alone",
    ),
    "files outside of the run's folder": ("faults/test_processes::test_a_run_writes_into_its_folder_alone",),
    "escape sequences on the screen": (
        "faults/test_screen::test_no_escape_sequence_of_a_proposer_or_a_row_reaches_the_screen",
        "faults/test_screen::test_no_escape_sequence_of_an_error_reaches_the_screen",
    ),
    "pickled weights": (
        "test_peft_format::test_pickled_weights_are_refused",
        "test_adapter::test_a_file_that_was_changed_lost_or_is_something_else_is_refused",
    ),
    "templates that run code or grow": (
        "test_template::test_jinja_refuses_what_is_dangerous_or_broken",
        "test_template::test_jinja_cannot_grow_past_the_cap",
    ),
    "slots in values": (
        "test_template::test_values_are_never_scanned_again",
        "test_parts::test_what_a_model_writes_never_becomes_a_slot",
    ),
}

PROPERTIES = {
    "the key changes with every field": (
        "test_calls::test_every_part_of_a_request_is_in_the_key",
        "test_calls::test_keys_are_equal_exactly_when_model_and_request_are",
    ),
    "replay equals the live run": (
        "test_calls::test_a_resumed_run_books_the_same_spending_without_calling",
        "test_run_in_its_folder::test_a_run_cut_anywhere_goes_on_to_the_same_end",
    ),
    "substitution is single-pass and total": (
        "test_template::test_values_are_never_scanned_again",
        "test_template::test_a_text_with_fields_is_rendered_back_byte_for_byte",
    ),
    "readers of replies never crash": (
        "search/test_ape::test_reading_survives_anything_and_gives_trimmed_text",
        "rewards/test_all::test_keeps_the_contract",
    ),
    "the YAML reader never crashes": (
        "test_strict_yaml::test_any_text_parses_or_raises_a_config_error",
        "test_strict_yaml::test_what_is_dumped_is_read_back",
    ),
    "data are read back": (
        "data/test_files::test_csv_gives_back_any_text",
        "data/test_files::test_json_gives_back_any_text",
        "data/test_files::test_any_bytes_are_read_or_refused_with_one_line",
    ),
    "the journal keeps any text": ("test_journal::test_any_text_survives",),
    "no secret is in any text": ("test_redact::test_a_secret_that_was_read_appears_in_no_text",),
}

LOAD = {
    "some thousand hostile texts": (
        "faults/test_fuzz::test_no_reader_crashes_or_runs_away_on_some_thousand_texts",
        "faults/test_fuzz::test_a_reader_that_crashes_or_runs_away_is_found",
    ),
    "a million hostile texts": ("faults/test_fuzz::test_no_reader_crashes_or_runs_away_on_a_million_texts",),
    "64 at once, 5% faults, some seconds": (
        "faults/test_load::test_a_little_load_loses_no_cell_and_leaks_nothing",
    ),
    "64 at once, 5% faults, ten minutes": (
        "faults/test_load::test_ten_minutes_of_load_lose_no_cell_and_leak_nothing",
    ),
}

JUDGE = {
    "text that talks to a judge which falls for it": (
        "faults/test_judge::test_a_judge_that_falls_for_injected_text_raises_an_alarm_everywhere",
        "faults/test_judge::test_a_prompt_that_talks_the_judge_into_scores_does_not_win_in_silence",
        "test_judging_watched::test_prompts_that_earn_as_much_for_other_rows_are_suspect_and_good_ones_are_not",
    ),
    "text that talks to a judge which does not": (
        "faults/test_judge::test_a_judge_that_looks_at_the_output_alone_raises_none",
    ),
    "text that closes the delimiters": (
        "faults/test_judge::test_no_output_escapes_from_between_its_marks",
        "rewards/test_judge::test_no_text_holds_the_mark_around_it_whatever_it_guesses",
        "rewards/test_judge::test_output_that_closes_the_delimiters_and_writes_a_reply_stays_between_them",
    ),
    "a generator that learns to talk to the judge": (
        "search/test_rl::test_what_talks_a_judge_into_scores_is_left_out_of_training_archive_and_finals",
        "search/test_rl_judge::"
        "test_a_text_that_talks_the_judge_into_scores_earns_what_cannot_be_used_does_and_is_kept_nowhere",
    ),
    "prose, cut JSON, NaN, a score out of scale": (
        "faults/test_judge::test_a_reply_that_is_no_score_is_asked_for_again_and_then_a_failed_cell",
        "rewards/test_judge::test_any_other_reply_is_none",
    ),
    "a judge that is down": ("faults/test_judge::test_a_judge_that_is_down_is_an_outage_and_no_score",),
    "the cap, target and judge at 64 at once": (
        "faults/test_judge::test_at_concurrency_64_target_and_judge_together_never_pass_the_cap",
    ),
    "kill -9 while the judge is asked": (
        "faults/test_judge::test_a_run_that_is_killed_repeats_no_call_of_the_judge",
    ),
}

ROWS = [
    *_rows("process", PROCESS),
    *_rows("endpoint", ENDPOINT),
    *_rows("money", MONEY),
    *_rows("journal", JOURNAL),
    *_rows("plug-ins", OTHERS),
    *_rows("judge", JUDGE),
    *_rows("privacy", PRIVACY),
    *_rows("properties", PROPERTIES),
    *_rows("load", LOAD),
]

CANNOT = {
    "a reward stuck in compiled code that never looks for signals": "kill the process, and resume",
    "a searcher that computes for ever, asking for nothing": "it may be thinking; Ctrl-C keeps all",
    "another model behind a name, if --reuse has all answers": "nobody is asked; the first call tells",
}
"""What is not survived, with the reason."""
