# Makes data/cohort_unb.csv, data/cohort_wedge.csv and point/cohort_unb.json, point/cohort_wedge.json beside it:
# unbalanced cohorts of families with known structure, and what lme4, lmerTest and pbkrtest give for them.
# Run with: Rscript cohort.R
suppressPackageStartupMessages({library(lme4); library(lmerTest); library(pbkrtest); library(jsonlite)})

control <- lmerControl(
  optimizer = "bobyqa", check.conv.singular = "ignore", check.conv.grad = "ignore",
  check.conv.hess = "ignore", optCtrl = list(rhobeg = 0.1, rhoend = 1e-10, maxfun = 1e5))

described <- function(formula, data, effect) {
  fit <- lmer(formula, data = data, control = control)
  variances <- as.data.frame(VarCorr(fit))
  judged <- function(ddf) {
    row <- summary(fit, ddf = ddf)$coefficients[effect, ]
    list(se = row[["Std. Error"]], df = row[["df"]], p = row[["Pr(>|t|)"]])
  }
  list(
    formula = deparse(formula, width.cutoff = 200), n = nobs(fit), singular = isSingular(fit),
    variances = setNames(as.list(variances$vcov), variances$grp),
    reml_criterion = as.numeric(REMLcrit(fit)), estimate = fixef(fit)[[effect]],
    satterthwaite = judged("Satterthwaite"), kenward_roger = judged("Kenward-Roger"))
}

stored <- function(name, data) {
  data[] <- lapply(data, function(column) if (is.double(column)) round(column, 6) else column)
  path <- file.path("data", paste0(name, ".csv"))
  write.csv(data, path, row.names = FALSE, quote = FALSE)
  read.csv(path)
}

written <- function(name, results) {
  software <- sapply(c("lme4", "lmerTest", "pbkrtest"), function(p) as.character(packageVersion(p)))
  software <- as.list(c(R = paste(R.version$major, R.version$minor, sep = "."), software))
  out <- list(id = name, lmer = results, software = software)
  write_json(out, file.path("point", paste0(name, ".json")), auto_unbox = TRUE, digits = NA, pretty = TRUE)
}

set.seed(31)
workers <- data.frame(worker = 1:24, team = rep(1:12, each = 2), authority = rep(1:8, times = c(2, 4, 2, 4, 2, 4, 2, 4)))
workers$team <- match(paste(workers$authority, workers$team), unique(paste(workers$authority, workers$team)))
families <- workers[rep(workers$worker, times = sample(2:7, 24, replace = TRUE)), ]
families$family <- seq_len(nrow(families))
families$treat <- as.integer(families$authority <= 4)
families$x <- rnorm(nrow(families))
families$level <- 0.3 * rnorm(8)[families$authority] + 0.3 * rnorm(max(workers$team))[families$team] +
  0.4 * rnorm(24)[families$worker] + 0.8 * rnorm(nrow(families)) + 0.3 * families$x
cohort <- families[rep(families$family, each = 3), ]
cohort$occasion <- rep(0:2, times = nrow(families))
cohort$d <- cohort$treat * as.integer(cohort$occasion > 0)
cohort$y <- 1 + cohort$level + 0.2 * cohort$occasion + 0.4 * cohort$d + 0.6 * rnorm(nrow(cohort))
lost <- runif(nrow(families)) < 0.2
late <- runif(nrow(families)) < 0.1
cohort <- cohort[!(lost[cohort$family] & cohort$occasion > 0) & !(late[cohort$family] & cohort$occasion == 0), ]
cohort$level <- NULL
cohort <- stored("cohort_unb", cohort)

after <- cohort[cohort$occasion > 0, ]
before <- cohort[cohort$occasion == 0, ]
after$base <- before$y[match(after$family, before$family)]
known <- after[!is.na(after$base), ]
changes <- aggregate(y ~ family + authority + worker + treat + x, data = after, FUN = mean)
changes$change <- changes$y - before$y[match(changes$family, before$family)]
written("cohort_unb", list(
  clda = described(y ~ factor(occasion) + d + (1 | authority) + (1 | family), cohort, "d"),
  clda_x = described(y ~ factor(occasion) + x + d + (1 | authority) + (1 | family), cohort, "d"),
  clda_worker = described(y ~ factor(occasion) + d + (1 | authority) + (1 | worker) + (1 | family), cohort, "d"),
  clda_team_worker = described(
    y ~ factor(occasion) + d + (1 | authority) + (1 | team) + (1 | worker) + (1 | family), cohort, "d"),
  clda_by_occasion = described(
    y ~ factor(occasion) + d + (1 | authority) + (1 | authority:occasion) + (1 | family), cohort, "d"),
  clda_by_occasion_xw = described(
    y ~ factor(occasion) + x + d + (1 | authority) + (1 | authority:occasion) + (1 | worker) + (1 | family), cohort, "d"),
  workers_by_occasion = described(
    y ~ factor(occasion) + x + d + (1 | authority) + (1 | authority:occasion) + (1 | worker), cohort, "d"),
  follow_up = described(y ~ treat + (1 | authority) + (1 | family), after, "treat"),
  ancova = described(y ~ base + treat + (1 | authority), known, "treat"),
  ancova_family = described(y ~ base + x + treat + (1 | authority) + (1 | family), known, "treat"),
  change = described(change ~ treat + (1 | authority), changes, "treat"),
  change_x_worker = described(change ~ x + treat + (1 | authority) + (1 | worker), changes, "treat")
))

families <- data.frame(authority = rep(1:6, times = c(4, 7, 5, 9, 3, 6)))
families$family <- seq_len(nrow(families))
wedge <- families[rep(families$family, each = 5), ]
wedge$occasion <- rep(0:4, times = nrow(families))
wedge$d <- as.integer(wedge$occasion >= c(1, 2, 3, 4, 2, 3)[wedge$authority])
wedge$y <- 0.4 * rnorm(6)[wedge$authority] + 0.8 * rnorm(nrow(families))[wedge$family] + 0.3 * wedge$d +
  sin(wedge$occasion) + 0.6 * rnorm(nrow(wedge))
wedge <- wedge[runif(nrow(wedge)) > 0.15, ]
wedge$drift <- wedge$y + 0.4 * matrix(rnorm(30), 6)[cbind(wedge$authority, wedge$occasion + 1)]
wedge <- stored("cohort_wedge", wedge)
written("cohort_wedge", list(
  wedge = described(y ~ factor(occasion) + d + (1 | authority) + (1 | family), wedge, "d"),
  wedge_by_occasion = described(
    y ~ factor(occasion) + d + (1 | authority) + (1 | authority:occasion) + (1 | family), wedge, "d"),
  drifting = described(
    drift ~ factor(occasion) + d + (1 | authority) + (1 | authority:occasion) + (1 | family), wedge, "d")
))
