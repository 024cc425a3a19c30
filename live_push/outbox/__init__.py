"""The database half of a push: record it, give it to a worker, write down its outcome. No network is used here.

A change of a profile becomes a push with a delivery for each active endpoint whose audience holds the profile. Workers
claim due deliveries, start them, send their requests (:mod:`live_push.delivery`) and settle the outcomes. Only this
package changes deliveries.

===================  ===============================================================================================
``record``           record a change: one push, and one delivery for each endpoint that receives it
``resend``           record pushes without a body: for operators, bulk writes and activated endpoints
``draw``             give a push without a body the current state when it is first sent
``claim``            take due deliveries for a worker, under a lease and a token
``start``            mark claimed deliveries as started, just before their requests are sent
``give_back``        give back deliveries that a worker holds and does not send
``settle``           write down the outcomes of attempts, and decide what happens next
``announce``         send signals, log and mail after a settlement
``idle``             find out whether an idle worker has anything to do
``release``          release deliveries of workers that died
``uncertain``        resend the current state to clients that may have processed an older state last
``reopen``           redeliver, or activate an endpoint again: deliveries begin a new run
``catch_up``         resend changes that were under way while their endpoint was being activated
``outside``          end waiting deliveries of members outside their endpoint's audience
``behind``           find the profiles whose current state an endpoint has not accepted
``withdraw``         cancel waiting deliveries, and erase what was sent, for operators
``erase``            erase the data of deleted members from the log
``erasure_report``   report who received a member's data, and what the log still has of deleted members
``prune``            delete deliveries that ended long ago
``hours``            count attempts by the hour
``transitions``      the statements that change a delivery's state, on one page
``sql``              the other statements that run for every batch, as text
``dialect``          what differs in them between the databases
===================  ===============================================================================================
"""
