BEGIN TRANSACTION;
CREATE TABLE curvestop_schema (
	version BIGINT NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "curvestop_schema" VALUES(1);
CREATE TABLE decisions (
	tenant TEXT NOT NULL, 
	study TEXT NOT NULL, 
	sequence BIGINT NOT NULL, 
	trial TEXT NOT NULL, 
	tau BIGINT NOT NULL, 
	target_epoch BIGINT NOT NULL, 
	value_to_beat DOUBLE, 
	stop BOOLEAN NOT NULL, 
	reason TEXT NOT NULL, 
	probability DOUBLE, 
	mean DOUBLE, 
	sigma DOUBLE, 
	n_curves BIGINT NOT NULL, 
	model_epoch BIGINT NOT NULL, 
	PRIMARY KEY (tenant, study, sequence), 
	FOREIGN KEY(tenant, study) REFERENCES studies (tenant, study)
);
INSERT INTO "decisions" VALUES('default','s',5,'complete-0',3,3,NULL,0,'epoch 3 is reached: there is nothing left to predict',NULL,NULL,NULL,0,0);
INSERT INTO "decisions" VALUES('default','s',10,'complete-1',3,3,NULL,0,'epoch 3 is reached: there is nothing left to predict',NULL,NULL,NULL,0,0);
INSERT INTO "decisions" VALUES('default','s',15,'complete-2',3,3,NULL,0,'epoch 3 is reached: there is nothing left to predict',NULL,NULL,NULL,0,0);
INSERT INTO "decisions" VALUES('default','s',20,'complete-3',3,3,NULL,0,'epoch 3 is reached: there is nothing left to predict',NULL,NULL,NULL,0,0);
INSERT INTO "decisions" VALUES('default','s',25,'complete-4',3,3,NULL,0,'epoch 3 is reached: there is nothing left to predict',NULL,NULL,NULL,0,0);
INSERT INTO "decisions" VALUES('default','s',30,'complete-5',3,3,NULL,0,'epoch 3 is reached: there is nothing left to predict',NULL,NULL,NULL,0,0);
INSERT INTO "decisions" VALUES('default','s',33,'stopped',1,3,NULL,1,'P(no better than 0.6 at epoch 3) = 0.977, stops at 0.95: predicted 0.4 +- 0.1 from 1 epochs and 6 complete curves',9.77249868051820791414e-01,0.4,9.99999999999999777955e-02,6,1);
INSERT INTO "decisions" VALUES('default','s',36,'open',1,3,NULL,0,'P(no better than 0.6 at epoch 3) = 0.841, stops at 0.95: predicted 0.5 +- 0.1 from 1 epochs and 6 complete curves',8.41344746068542925776e-01,0.5,9.99999999999999777955e-02,6,1);
INSERT INTO "decisions" VALUES('default','s',39,'gap',0,3,NULL,0,'epoch 1 was not reported yet',NULL,NULL,NULL,0,0);
CREATE TABLE finishes (
	tenant TEXT NOT NULL, 
	study TEXT NOT NULL, 
	trial TEXT NOT NULL, 
	sequence BIGINT NOT NULL, 
	state TEXT NOT NULL, 
	diverged_at BIGINT, 
	PRIMARY KEY (tenant, study, trial), 
	FOREIGN KEY(tenant, study) REFERENCES studies (tenant, study)
);
INSERT INTO "finishes" VALUES('default','s','open',40,'finished',NULL);
INSERT INTO "finishes" VALUES('default','b','diverged',3,'failed',2);
CREATE TABLE observations (
	tenant TEXT NOT NULL, 
	study TEXT NOT NULL, 
	trial TEXT NOT NULL, 
	epoch BIGINT NOT NULL, 
	sequence BIGINT NOT NULL, 
	value DOUBLE NOT NULL, 
	PRIMARY KEY (tenant, study, trial, epoch), 
	FOREIGN KEY(tenant, study) REFERENCES studies (tenant, study)
);
INSERT INTO "observations" VALUES('default','s','complete-0',1,2,0.5);
INSERT INTO "observations" VALUES('default','s','complete-0',2,3,0.55);
INSERT INTO "observations" VALUES('default','s','complete-0',3,4,0.6);
INSERT INTO "observations" VALUES('default','s','complete-1',1,7,0.5);
INSERT INTO "observations" VALUES('default','s','complete-1',2,8,0.55);
INSERT INTO "observations" VALUES('default','s','complete-1',3,9,0.4);
INSERT INTO "observations" VALUES('default','s','complete-2',1,12,0.5);
INSERT INTO "observations" VALUES('default','s','complete-2',2,13,0.55);
INSERT INTO "observations" VALUES('default','s','complete-2',3,14,0.6);
INSERT INTO "observations" VALUES('default','s','complete-3',1,17,0.5);
INSERT INTO "observations" VALUES('default','s','complete-3',2,18,0.55);
INSERT INTO "observations" VALUES('default','s','complete-3',3,19,0.4);
INSERT INTO "observations" VALUES('default','s','complete-4',1,22,0.5);
INSERT INTO "observations" VALUES('default','s','complete-4',2,23,0.55);
INSERT INTO "observations" VALUES('default','s','complete-4',3,24,0.6);
INSERT INTO "observations" VALUES('default','s','complete-5',1,27,0.5);
INSERT INTO "observations" VALUES('default','s','complete-5',2,28,0.55);
INSERT INTO "observations" VALUES('default','s','complete-5',3,29,0.4);
INSERT INTO "observations" VALUES('default','s','stopped',1,32,0.4);
INSERT INTO "observations" VALUES('default','s','open',1,35,0.5);
INSERT INTO "observations" VALUES('default','s','gap',2,38,0.2);
INSERT INTO "observations" VALUES('default','b','diverged',1,2,0.1);
CREATE TABLE studies (
	tenant TEXT NOT NULL, 
	study TEXT NOT NULL, 
	settings JSON NOT NULL, 
	last_sequence BIGINT NOT NULL, 
	PRIMARY KEY (tenant, study)
);
INSERT INTO "studies" VALUES('default','s','{"name": "s", "max_epochs": 3, "metric": "value", "direction": "maximise", "rule": {"threshold": 0.95, "tolerance": 0.0, "rank": 1, "min_curves": 6}, "predictor": "last-seen", "predictor_settings": {}, "log_scaled": [], "refit_growth": 1.2, "policy": "threshold", "policy_settings": {}, "shadow": false, "hold_out": 0.0}',40);
INSERT INTO "studies" VALUES('default','b','{"name": "b", "max_epochs": 3, "metric": "value", "direction": "maximise", "rule": {"threshold": 0.95, "tolerance": 0.0, "rank": 1, "min_curves": 6}, "predictor": "last-seen", "predictor_settings": {}, "log_scaled": [], "refit_growth": 1.2, "policy": "threshold", "policy_settings": {}, "shadow": false, "hold_out": 0.0}',3);
CREATE TABLE trials (
	tenant TEXT NOT NULL, 
	study TEXT NOT NULL, 
	trial TEXT NOT NULL, 
	sequence BIGINT NOT NULL, 
	configuration JSON NOT NULL, 
	PRIMARY KEY (tenant, study, trial), 
	FOREIGN KEY(tenant, study) REFERENCES studies (tenant, study)
);
INSERT INTO "trials" VALUES('default','s','complete-0',1,'{"lr": 1e-05, "n": 0, "flag": true, "name": "\u00e9"}');
INSERT INTO "trials" VALUES('default','s','complete-1',6,'{"lr": 1e-05, "n": 1, "flag": false, "name": "\u00e9"}');
INSERT INTO "trials" VALUES('default','s','complete-2',11,'{"lr": 1e-05, "n": 2, "flag": true, "name": "\u00e9"}');
INSERT INTO "trials" VALUES('default','s','complete-3',16,'{"lr": 1e-05, "n": 3, "flag": false, "name": "\u00e9"}');
INSERT INTO "trials" VALUES('default','s','complete-4',21,'{"lr": 1e-05, "n": 4, "flag": true, "name": "\u00e9"}');
INSERT INTO "trials" VALUES('default','s','complete-5',26,'{"lr": 1e-05, "n": 5, "flag": false, "name": "\u00e9"}');
INSERT INTO "trials" VALUES('default','s','stopped',31,'{}');
INSERT INTO "trials" VALUES('default','s','open',34,'{}');
INSERT INTO "trials" VALUES('default','s','gap',37,'{}');
INSERT INTO "trials" VALUES('default','b','diverged',1,'{}');
COMMIT;