CREATE TABLE `sluice_claims` (
  `job` varchar(120) NOT NULL,
  `id` varchar(255) NOT NULL,
  `state` varchar(8) NOT NULL,
  `priority` bigint(20) NOT NULL DEFAULT 0,
  `due_at` bigint(20) NOT NULL,
  `due_said` bigint(20) DEFAULT NULL,
  `lease_until` bigint(20) DEFAULT NULL,
  `attempt` bigint(20) NOT NULL DEFAULT 0,
  `fence` bigint(20) NOT NULL DEFAULT 0,
  `run` bigint(20) NOT NULL DEFAULT 1,
  `holder` varchar(255) DEFAULT NULL,
  `owed` text DEFAULT NULL,
  `next_page` text DEFAULT NULL,
  `pages` bigint(20) NOT NULL DEFAULT 0,
  `records` bigint(20) NOT NULL DEFAULT 0,
  `rejects` bigint(20) NOT NULL DEFAULT 0,
  `bytes` bigint(20) NOT NULL DEFAULT 0,
  `reason` text DEFAULT NULL,
  `updated_at` bigint(20) NOT NULL,
  PRIMARY KEY (`job`,`id`),
  KEY `sluice_claims_due` (`job`,`state`,`priority`,`due_at`,`id`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
INSERT INTO `sluice_claims` (`job`, `id`, `state`, `priority`, `due_at`, `due_said`, `lease_until`, `attempt`, `fence`, `run`, `holder`, `owed`, `next_page`, `pages`, `records`, `rejects`, `bytes`, `reason`, `updated_at`) VALUES ('flights','D942DN','done',0,1795789486895,NULL,NULL,0,2,1,NULL,NULL,NULL,2,4,0,1242,NULL,1795789486895);
INSERT INTO `sluice_claims` (`job`, `id`, `state`, `priority`, `due_at`, `due_said`, `lease_until`, `attempt`, `fence`, `run`, `holder`, `owed`, `next_page`, `pages`, `records`, `rejects`, `bytes`, `reason`, `updated_at`) VALUES ('flights','N0EGMQ','done',0,1795789489779,NULL,NULL,0,2,1,NULL,NULL,NULL,9,371,0,112253,NULL,1795789489779);
INSERT INTO `sluice_claims` (`job`, `id`, `state`, `priority`, `due_at`, `due_said`, `lease_until`, `attempt`, `fence`, `run`, `holder`, `owed`, `next_page`, `pages`, `records`, `rejects`, `bytes`, `reason`, `updated_at`) VALUES ('flights','N10156','done',0,1795789487766,NULL,NULL,0,2,1,NULL,NULL,NULL,5,154,0,46470,NULL,1795789487766);
INSERT INTO `sluice_claims` (`job`, `id`, `state`, `priority`, `due_at`, `due_said`, `lease_until`, `attempt`, `fence`, `run`, `holder`, `owed`, `next_page`, `pages`, `records`, `rejects`, `bytes`, `reason`, `updated_at`) VALUES ('flights','N102UW','done',0,1795789486978,NULL,NULL,0,2,1,NULL,NULL,NULL,2,49,0,14584,NULL,1795789486978);
INSERT INTO `sluice_claims` (`job`, `id`, `state`, `priority`, `due_at`, `due_said`, `lease_until`, `attempt`, `fence`, `run`, `holder`, `owed`, `next_page`, `pages`, `records`, `rejects`, `bytes`, `reason`, `updated_at`) VALUES ('flights','N103US','done',0,1795789486895,NULL,NULL,0,2,1,NULL,NULL,NULL,2,47,0,13932,NULL,1795789486895);
INSERT INTO `sluice_claims` (`job`, `id`, `state`, `priority`, `due_at`, `due_said`, `lease_until`, `attempt`, `fence`, `run`, `holder`, `owed`, `next_page`, `pages`, `records`, `rejects`, `bytes`, `reason`, `updated_at`) VALUES ('flights','N104UW','done',0,1795789487123,NULL,NULL,0,2,1,NULL,NULL,NULL,2,48,0,14281,NULL,1795789487123);
INSERT INTO `sluice_claims` (`job`, `id`, `state`, `priority`, `due_at`, `due_said`, `lease_until`, `attempt`, `fence`, `run`, `holder`, `owed`, `next_page`, `pages`, `records`, `rejects`, `bytes`, `reason`, `updated_at`) VALUES ('flights','N105UW','due',0,1795789486000,NULL,NULL,0,0,1,NULL,NULL,NULL,0,0,0,0,NULL,1795789486000);
INSERT INTO `sluice_claims` (`job`, `id`, `state`, `priority`, `due_at`, `due_said`, `lease_until`, `attempt`, `fence`, `run`, `holder`, `owed`, `next_page`, `pages`, `records`, `rejects`, `bytes`, `reason`, `updated_at`) VALUES ('flights','N10575','due',0,1795789486001,NULL,NULL,0,2,1,NULL,NULL,'{"endpoint":"flights","page":3,"token":"/v1/aircraft/N10575/flights?page=4"}',4,151,0,45476,NULL,1795789486001);
INSERT INTO `sluice_claims` (`job`, `id`, `state`, `priority`, `due_at`, `due_said`, `lease_until`, `attempt`, `fence`, `run`, `holder`, `owed`, `next_page`, `pages`, `records`, `rejects`, `bytes`, `reason`, `updated_at`) VALUES ('flights','N107US','claimed',0,1795789486002,NULL,1795789486002,1,1,1,'demo-collector-collector-collector-1',NULL,NULL,0,0,0,0,NULL,1795789486002);
INSERT INTO `sluice_claims` (`job`, `id`, `state`, `priority`, `due_at`, `due_said`, `lease_until`, `attempt`, `fence`, `run`, `holder`, `owed`, `next_page`, `pages`, `records`, `rejects`, `bytes`, `reason`, `updated_at`) VALUES ('flights','N108UW','claimed',0,1795789486003,NULL,1795789486003,2,2,1,'demo-collector-collector-collector-2','demo-collector-collector-collector-1',NULL,0,0,0,0,NULL,1795789486003);
