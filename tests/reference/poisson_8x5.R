# Poisson mixed model with an offset, on a simulated stepped wedge: writes point/poisson_8x5.json.
# Run in this folder: Rscript poisson_8x5.R
library(lme4)
data <- read.csv("data/poisson_8x5.csv")
control <- glmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-9, maxfun = 1e5), tolPwrss = 1e-12)
fit <- function(nodes) {
  model <- glmer(events ~ factor(period) + treated + (1 | cluster) + offset(log(n)), data, poisson,
                 nAGQ = nodes, control = control)
  list(estimate = fixef(model)[["treated"]], se = sqrt(diag(as.matrix(vcov(model))))[["treated"]],
       sd_cluster = getME(model, "theta")[[1]])
}
result <- list(
  id = "poisson_8x5", data = "data/poisson_8x5.csv",
  design = "stepped wedge, 4 sequences x 2 clusters, 5 periods; n units of exposure and their events",
  glmer_poisson = list(formula = "events ~ factor(period) + treated + (1 | cluster) + offset(log(n))",
                       nAGQ1 = fit(1), nAGQ9 = fit(9)),
  software = list(R = paste(R.version$major, R.version$minor, sep = "."), lme4 = as.character(packageVersion("lme4")))
)
write(jsonlite::toJSON(result, auto_unbox = TRUE, digits = NA, pretty = TRUE), "point/poisson_8x5.json")
