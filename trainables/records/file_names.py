"""Names of the files in a trial's folder and in a sweep's folder."""

# What stands in a trial's folder.
REQUEST = "spec.json"  # what was asked
PLAN = "plan.json"  # what is kept
LOG = "log.txt"  # whatever the trial and its libraries print
RUNG = "rung.json"  # the record as it stood at the latest rung
STAGE = "stage.json"  # what the trial is at; gone once there is a record
CHECKPOINT = "checkpoint.safetensors"  # gone once there is a record
ASKED = "checkpoint.asked"  # for a checkpoint now; who writes it takes this away
CURVES = "curves.jsonl"  # a line per step of the recovery
RECORD = "record.json"  # written last
REPORT = "report.json"  # of the closing pass
REPORT_SCORES = "report_scores.json"  # its first half, until latency is measured
SEARCH_SAMPLES = "search_samples.parquet"  # what every question of the search split scored
TRAINED_SAMPLES = "trained_samples.parquet"  # the same of a trained student that was not kept
REPORT_SAMPLES = "report_samples.parquet"  # and of the report split
TRAINED = "recovered.safetensors"  # what the recovery trained

# What an exported model's folder says of its trial.
EXPORTED_RECORD = "trial_record.json"
EXPORTED_REPORT = "trial_report.json"

# What stands in a sweep's folder: the questions that all models are shown with, and their pictures.
GALLERY = "gallery/gallery.json"
SWEEP = "sweep.json"  # what was run, with every setting

# What becomes of a file that cannot be read, and the way out.
IF_DAMAGED = {
    REQUEST: "`prunesweep run` writes it again from the trial's record, or asks for a new trial",
    RECORD: "Its trial is passed over; move the file away, and `prunesweep run` repeats the trial",
    REPORT: "Its trial counts as not closed, and `prunesweep run` closes it again",
    REPORT_SCORES: "Move the file away, and `prunesweep run` scores the report split again",
    SEARCH_SAMPLES: "Its trial is compared without pairs of answers",
    TRAINED_SAMPLES: "Its trial is compared without pairs of answers",
    REPORT_SAMPLES: "Its trial is compared without pairs of answers",
    SWEEP: "`prunesweep run` of the sweep writes it again",
}
