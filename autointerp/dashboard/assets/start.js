'use strict';
Dashboard.start();
