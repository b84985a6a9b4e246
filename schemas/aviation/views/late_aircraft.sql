-- Aircraft that arrived more than an hour late, and how often.
SELECT tailnum, carrier, count(*) AS times
FROM aviation_flight_masked_v1
WHERE arr_delay > 60
GROUP BY tailnum, carrier
